package dynamostore

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// API is the part of DynamoDB that the store uses. *dynamodb.Client implements it, and so does the
// in-process client of the embedded engine. Implementations must be safe for concurrent use, must
// not modify an input, and must not keep one after they returned.
type API interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error)
}

// TableOptions configure a Table. The zero value is ready for use.
type TableOptions struct {
	// Clock returns the time for timestamps that this package writes itself (namespace and version
	// records). nil = time.Now. The hot path takes its times from the limiter.
	Clock func() time.Time
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
	// WithoutStream leaves the stream out when Create makes the table. A table of production has
	// one; a test server that slows down with every recorded change does not need it.
	WithoutStream bool
	// DeletionProtection is set on a table that Create makes.
	DeletionProtection bool
	// UpdatedBy is recorded in a version record that this Table writes; "" records none.
	UpdatedBy string
}

// Table is one DynamoDB table of the limiter. It is safe for concurrent use.
type Table struct {
	api API
	// consumer is the api when that is one, else nil.
	consumer Consumer
	name     string
	tableN   *string
	opts     TableOptions
	clock    func() time.Time
	log      *slog.Logger

	// writeOnce are the per-call options of writes that must not be repeated after an ambiguous
	// outcome; one slice for the life of the table, so that a call allocates none.
	writeOnce []func(*dynamodb.Options)
}

// OpenTable returns the table with that name, without any request. See Create and Check.
func OpenTable(api API, name string, opts TableOptions) *Table {
	t := &Table{api: api, name: name, tableN: aws.String(name), opts: opts, clock: opts.Clock, log: opts.Logger}
	if t.clock == nil {
		t.clock = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.consumer, _ = api.(Consumer)
	t.writeOnce = writeOnceOptions(api)
	return t
}

// Name returns the name of the table.
func (t *Table) Name() string { return t.name }
