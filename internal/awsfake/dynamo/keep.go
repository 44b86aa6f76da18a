package dynamo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Tables are kept in the wire's own JSON: the engine is asked for them and asked to make them again.

// kept is a table between runs.
type kept struct {
	Definition json.RawMessage   // the body of CreateTable
	TTL        string            // the attribute, "" = off
	Items      []json.RawMessage // as in the wire
}

// definition is what a table is created by, as far as DescribeTable tells it.
type definition struct {
	TableName                 string
	AttributeDefinitions      json.RawMessage
	KeySchema                 json.RawMessage
	BillingMode               string          `json:",omitempty"`
	ProvisionedThroughput     *throughput     `json:",omitempty"`
	GlobalSecondaryIndexes    []index         `json:",omitempty"`
	LocalSecondaryIndexes     []index         `json:",omitempty"`
	StreamSpecification       json.RawMessage `json:",omitempty"`
	DeletionProtectionEnabled bool            `json:",omitempty"`
	Tags                      []tag           `json:",omitempty"`
}

type throughput struct{ ReadCapacityUnits, WriteCapacityUnits int64 }

type index struct {
	IndexName             string
	KeySchema, Projection json.RawMessage
	ProvisionedThroughput *throughput `json:",omitempty"`
}

type tag struct{ Key, Value string }

// MarshalJSON returns all tables with their items.
func (s *Service) MarshalJSON() ([]byte, error) {
	tables := []kept{}
	for _, table := range s.engine.Stats().Tables {
		t, err := s.keep(table.Name)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", table.Name, err)
		}
		tables = append(tables, t)
	}
	return json.Marshal(tables)
}

func (s *Service) keep(name string) (kept, error) {
	var described struct {
		Table struct {
			definition
			BillingModeSummary struct{ BillingMode string }
		}
	}
	if err := s.ask("DescribeTable", map[string]any{"TableName": name}, &described); err != nil {
		return kept{}, err
	}
	d := described.Table.definition
	d.BillingMode = described.Table.BillingModeSummary.BillingMode
	if d.BillingMode == "PAY_PER_REQUEST" {
		d.ProvisionedThroughput = nil
		for i := range d.GlobalSecondaryIndexes {
			d.GlobalSecondaryIndexes[i].ProvisionedThroughput = nil
		}
	}
	for key, value := range s.Tagged()[s.tableARN(name)] {
		d.Tags = append(d.Tags, tag{key, value})
	}
	definition, err := json.Marshal(d)
	if err != nil {
		return kept{}, err
	}
	t := kept{Definition: definition}
	var ttl struct {
		TimeToLiveDescription struct{ TimeToLiveStatus, AttributeName string }
	}
	if err := s.ask("DescribeTimeToLive", map[string]any{"TableName": name}, &ttl); err != nil {
		return kept{}, err
	}
	if ttl.TimeToLiveDescription.TimeToLiveStatus == "ENABLED" {
		t.TTL = ttl.TimeToLiveDescription.AttributeName
	}
	var after json.RawMessage
	for {
		scan := map[string]any{"TableName": name}
		if after != nil {
			scan["ExclusiveStartKey"] = after
		}
		var page struct {
			Items            []json.RawMessage
			LastEvaluatedKey json.RawMessage
		}
		if err := s.ask("Scan", scan, &page); err != nil {
			return kept{}, err
		}
		t.Items = append(t.Items, page.Items...)
		if after = page.LastEvaluatedKey; after == nil {
			return t, nil
		}
	}
}

// UnmarshalJSON makes the tables that MarshalJSON returned, in an engine without tables.
func (s *Service) UnmarshalJSON(data []byte) error {
	var tables []kept
	if err := json.Unmarshal(data, &tables); err != nil {
		return err
	}
	for _, t := range tables {
		var d definition
		if err := json.Unmarshal(t.Definition, &d); err != nil {
			return err
		}
		if err := s.restore(d.TableName, t); err != nil {
			return fmt.Errorf("table %s: %w", d.TableName, err)
		}
	}
	return nil
}

func (s *Service) restore(name string, t kept) error {
	if err := s.ask("CreateTable", t.Definition, nil); err != nil {
		return err
	}
	if err := s.waitFor(context.Background(), name); err != nil {
		return err
	}
	for _, item := range t.Items {
		if err := s.ask("PutItem", map[string]any{"TableName": name, "Item": item}, nil); err != nil {
			return err
		}
	}
	if t.TTL == "" {
		return nil
	}
	return s.ask("UpdateTimeToLive", map[string]any{"TableName": name, "TimeToLiveSpecification": map[string]any{"Enabled": true, "AttributeName": t.TTL}}, nil)
}

// ask sends the engine a request in the wire's JSON.
func (s *Service) ask(operation string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	w := &writer{header: http.Header{}, status: http.StatusOK}
	s.engine.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("%s: %s", operation, w.body.String())
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(w.body.Bytes(), answer)
}

// writer keeps an answer in memory.
type writer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *writer) Header() http.Header            { return w.header }
func (w *writer) WriteHeader(status int)         { w.status = status }
func (w *writer) Write(data []byte) (int, error) { return w.body.Write(data) }
