// Package dynamo plays DynamoDB by the embedded engine: it asks for permissions as IAM does, makes
// tables for stacks, and keeps tables between runs.
package dynamo

import (
	"context"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Service is DynamoDB of one account and region. It is safe for concurrent use.
type Service struct {
	engine          *dynamolocal.Engine
	client          *dynamolocal.Client
	account, region string

	mu sync.RWMutex
	// keys are the hash keys of tables by name, and of their indexes by name below.
	keys map[string]hashKeys
	// sampled are the units of each table and index at the last Sample.
	sampled map[consumer]units
}

type hashKeys struct {
	table   string
	indexes map[string]string
}

type units struct{ read, write float64 }

// consumer is a table, or with a name of an index that.
type consumer struct{ table, index string }

// New starts the engine of an account and region. Models and faults are those of the configuration.
func New(account, region string, config dynamolocal.Config) (*Service, error) {
	config.Account, config.Region = account, region
	engine, err := dynamolocal.New(config)
	if err != nil {
		return nil, err
	}
	return &Service{engine: engine, client: engine.Client(), account: account, region: region, keys: map[string]hashKeys{}, sampled: map[consumer]units{}}, nil
}

// Close ends the engine.
func (s *Service) Close() { s.engine.Close() }

// Streams returns a client of the tables' streams, for services that read them.
func (s *Service) Streams() *dynamolocal.StreamsClient { return s.engine.StreamsClient() }

// API returns the service for the front: the engine answers by itself.
func (s *Service) API() protocol.Service {
	return protocol.Service{Name: "dynamodb", Wire: protocol.REST, Check: s.check, Handle: s.handle}
}

func (s *Service) tableARN(name string) string {
	return "arn:aws:dynamodb:" + s.region + ":" + s.account + ":table/" + name
}

// nameOf accepts a table's ARN for its name, as the service does.
func nameOf(table string) string {
	if _, rest, ok := strings.Cut(table, ":table/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	return table
}

// keysOf are the hash keys of a table; false when there is no such table.
func (s *Service) keysOf(table string) (hashKeys, bool) {
	s.mu.RLock()
	keys, ok := s.keys[table]
	s.mu.RUnlock()
	if ok {
		return keys, true
	}
	out, err := s.client.DescribeTable(context.Background(), &dynamodb.DescribeTableInput{TableName: &table})
	if err != nil {
		return hashKeys{}, false
	}
	keys = hashKeys{table: aws.ToString(out.Table.KeySchema[0].AttributeName), indexes: map[string]string{}}
	for _, index := range out.Table.GlobalSecondaryIndexes {
		keys.indexes[*index.IndexName] = *index.KeySchema[0].AttributeName
	}
	for _, index := range out.Table.LocalSecondaryIndexes {
		keys.indexes[*index.IndexName] = *index.KeySchema[0].AttributeName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[table] = keys
	return keys, true
}

// forget drops the keys of a table that changes.
func (s *Service) forget(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, table)
}

// Tagged returns the tags of tables by ARN.
func (s *Service) Tagged() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, table := range s.engine.Stats().Tables {
		arn := s.tableARN(table.Name)
		tags := map[string]string{}
		pages := dynamodb.ListTagsOfResourceInput{ResourceArn: &arn}
		for {
			page, err := s.client.ListTagsOfResource(context.Background(), &pages)
			if err != nil { // the table has gone meanwhile
				break
			}
			for _, tag := range page.Tags {
				tags[*tag.Key] = *tag.Value
			}
			if pages.NextToken = page.NextToken; page.NextToken == nil {
				break
			}
		}
		if len(tags) > 0 {
			out[arn] = tags
		}
	}
	return out
}

// Sample records what the tables and their global indexes consumed since the last call (aws.md 5.8). A
// local index is part of its table.
func (s *Service) Sample(record func(namespace, name, unit string, dimensions map[string]string, value float64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, table := range s.engine.Stats().Tables {
		own := units{table.ReadUnits, table.WriteUnits}
		for _, index := range table.Indexes {
			if index.Local {
				own.write += index.WriteUnits
				continue
			}
			own.read -= index.ReadUnits
			s.sample(table.Name, index.Name, units{index.ReadUnits, index.WriteUnits}, record)
		}
		s.sample(table.Name, "", own, record)
	}
}

// sample records what a table, or one of its indexes, consumed since the last call; the lock is held.
func (s *Service) sample(table, index string, now units, record func(namespace, name, unit string, dimensions map[string]string, value float64)) {
	dimensions := map[string]string{"TableName": table}
	if index != "" {
		dimensions["GlobalSecondaryIndexName"] = index
	}
	of := consumer{table, index}
	before := s.sampled[of]
	s.sampled[of] = now
	if now.read < before.read || now.write < before.write { // a new table of the name
		before = units{}
	}
	if read := now.read - before.read; read > 0 {
		record("AWS/DynamoDB", "ConsumedReadCapacityUnits", "Count", dimensions, read)
	}
	if write := now.write - before.write; write > 0 {
		record("AWS/DynamoDB", "ConsumedWriteCapacityUnits", "Count", dimensions, write)
	}
}
