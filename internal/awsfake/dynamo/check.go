package dynamo

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// handle lets the engine answer; hash keys of tables that change are read again.
func (s *Service) handle(w http.ResponseWriter, r *http.Request, call *protocol.Call) {
	s.engine.ServeHTTP(w, r)
	switch call.Action {
	case "CreateTable", "UpdateTable", "DeleteTable":
		s.mu.Lock()
		defer s.mu.Unlock()
		clear(s.keys)
	}
}

// request has the members that permissions depend on, of all operations.
type request struct {
	TableName, IndexName, ResourceArn string
	StreamArn, ShardIterator          string
	Key, Item                         map[string]value
	KeyConditionExpression            string
	ExpressionAttributeNames          map[string]string
	ExpressionAttributeValues         map[string]value
	KeyConditions                     map[string]struct{ AttributeValueList []value }
	RequestItems                      json.RawMessage
	TransactItems                     []struct{ Get, Put, Update, Delete, ConditionCheck *request }
}

// value is an attribute's value as far as keys have it.
type value struct{ S, N, B string }

func (v value) text() string { return v.S + v.N + v.B }

// need is one permission that a request needs.
type need struct {
	action, table, index string
	// stream is the ARN of a stream, for requests about one.
	stream string
	// leading are the values of the hash key that are touched; with all of them known, policies may
	// test them.
	leading []string
}

// check asks for the permissions of a request, before the engine sees it: a denied part makes the whole
// request fail (aws.md 2.5).
func (s *Service) check(call *protocol.Call, body []byte) error {
	if call.Guard == nil {
		return nil
	}
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return protocol.Errorf("SerializationException", "%v", err)
	}
	needs, err := s.needs(call.Action, &r)
	if err != nil {
		return err
	}
	for _, n := range needs {
		resource := "*"
		switch {
		case n.stream != "":
			resource = n.stream
		case n.table != "":
			resource = s.tableARN(nameOf(n.table))
		}
		if n.index != "" {
			resource += "/index/" + n.index
		}
		var conditions map[string]string
		if len(n.leading) > 0 {
			conditions = map[string]string{"dynamodb:LeadingKeys": protocol.JoinValues(n.leading)}
		}
		if err := call.AllowIf("dynamodb:"+n.action, conditions, resource); err != nil {
			return err
		}
	}
	return nil
}

// needs lists the permissions of a request. TransactWriteItems and TransactGetItems are no actions of
// IAM: each of their parts is one.
func (s *Service) needs(action string, r *request) ([]need, error) {
	switch action {
	case "GetItem", "PutItem", "UpdateItem", "DeleteItem":
		return []need{s.part(action, r)}, nil
	case "Query":
		return []need{{action: action, table: r.TableName, index: r.IndexName, leading: s.queried(r)}}, nil
	case "Scan":
		return []need{{action: action, table: r.TableName, index: r.IndexName}}, nil
	case "BatchGetItem", "BatchWriteItem":
		return s.batch(action, r.RequestItems)
	case "TransactGetItems", "TransactWriteItems":
		var needs []need
		for _, item := range r.TransactItems {
			for part, of := range map[string]*request{"GetItem": item.Get, "PutItem": item.Put, "UpdateItem": item.Update, "DeleteItem": item.Delete, "ConditionCheckItem": item.ConditionCheck} {
				if of != nil {
					needs = append(needs, s.part(part, of))
				}
			}
		}
		return needs, nil
	case "ListTables", "ListStreams", "DescribeLimits", "DescribeEndpoints":
		return []need{{action: action}}, nil
	case "DescribeStream", "GetShardIterator":
		return []need{{action: action, stream: r.StreamArn}}, nil
	case "GetRecords":
		stream, _, _ := strings.Cut(r.ShardIterator, "|") // an iterator begins with its stream
		return []need{{action: action, stream: stream}}, nil
	default:
		table := r.TableName
		if table == "" {
			table = r.ResourceArn
		}
		return []need{{action: action, table: table}}, nil
	}
}

// part is the need of an operation on one item.
func (s *Service) part(action string, r *request) need {
	return need{action: action, table: r.TableName, leading: s.leading(r.TableName, r.Key, r.Item)}
}

func (s *Service) leading(table string, items ...map[string]value) []string {
	keys, ok := s.keysOf(nameOf(table))
	if !ok {
		return nil
	}
	var values []string
	for _, item := range items {
		if v, ok := item[keys.table]; ok {
			values = append(values, v.text())
		}
	}
	return values
}

// batch reads the keys of BatchGetItem and the requests of BatchWriteItem, by table.
func (s *Service) batch(action string, items json.RawMessage) ([]need, error) {
	var needs []need
	add := func(table string, keys []map[string]value) {
		needs = append(needs, need{action: action, table: table, leading: s.leading(table, keys...)})
	}
	if action == "BatchGetItem" {
		var tables map[string]struct{ Keys []map[string]value }
		if err := json.Unmarshal(items, &tables); err != nil {
			return nil, protocol.Errorf("SerializationException", "RequestItems: %v", err)
		}
		for table, read := range tables {
			add(table, read.Keys)
		}
		return needs, nil
	}
	var tables map[string][]struct {
		PutRequest    *struct{ Item map[string]value }
		DeleteRequest *struct{ Key map[string]value }
	}
	if err := json.Unmarshal(items, &tables); err != nil {
		return nil, protocol.Errorf("SerializationException", "RequestItems: %v", err)
	}
	for table, writes := range tables {
		var keys []map[string]value
		for _, write := range writes {
			switch {
			case write.PutRequest != nil:
				keys = append(keys, write.PutRequest.Item)
			case write.DeleteRequest != nil:
				keys = append(keys, write.DeleteRequest.Key)
			}
		}
		add(table, keys)
	}
	return needs, nil
}

// equalities are the tests of a key condition; one of them is for the hash key.
var equalities = regexp.MustCompile(`([#\w.-]+)\s*=\s*(:\w+)`)

// queried is the hash key's value of a query.
func (s *Service) queried(r *request) []string {
	keys, ok := s.keysOf(nameOf(r.TableName))
	if !ok {
		return nil
	}
	hash := keys.table
	if r.IndexName != "" {
		hash = keys.indexes[r.IndexName]
	}
	if condition, ok := r.KeyConditions[hash]; ok && len(condition.AttributeValueList) == 1 {
		return []string{condition.AttributeValueList[0].text()}
	}
	for _, match := range equalities.FindAllStringSubmatch(r.KeyConditionExpression, -1) {
		name := match[1]
		if strings.HasPrefix(name, "#") {
			name = r.ExpressionAttributeNames[name]
		}
		if v, ok := r.ExpressionAttributeValues[match[2]]; ok && name == hash {
			return []string{v.text()}
		}
	}
	return nil
}
