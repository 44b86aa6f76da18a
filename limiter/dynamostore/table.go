package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// checkTimeout bounds Check: an address where something listens that never answers must not hang
// the start of a program.
const checkTimeout = 8 * time.Second

// Sentinel errors of opening a table.
var (
	// ErrTableNotFound says that the endpoint has no table of that name.
	ErrTableNotFound = errors.New("table not found")
	// ErrNotDynamoDB says that something answered at the endpoint which does not speak DynamoDB.
	ErrNotDynamoDB = errors.New("the endpoint does not answer like DynamoDB")
	// ErrUnreachable says that nothing answered at the endpoint.
	ErrUnreachable = errors.New("the endpoint cannot be reached")
)

// SchemaError says that a table exists but cannot hold limiter data.
type SchemaError struct {
	Table    string
	Problems []string // one sentence each, at least one
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("table %s is not a limiter table: %s", e.Table, strings.Join(e.Problems, "; "))
}

// Create makes the table with all of its indexes and the expiry of items, waits until it is active
// and writes the version record. A table that exists already is left as it is, but must have the
// right schema (*SchemaError); what it lacks of expiry and version record is added.
func (t *Table) Create(ctx context.Context) error {
	_, err := t.api.CreateTable(ctx, t.createTableInput())
	if _, inUse := errors.AsType[*types.ResourceInUseException](err); err != nil && !inUse {
		return fmt.Errorf("create table %s: %w", t.name, classifyOpening(ctx, err))
	}
	if err := t.waitActive(ctx); err != nil {
		return err
	}
	if err := t.enableExpiry(ctx); err != nil {
		return err
	}
	return t.EnsureVersion(ctx)
}

// waitActive polls until the table is active, with growing pauses: an embedded engine is ready at
// once, the service takes some seconds.
func (t *Table) waitActive(ctx context.Context) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		table, err := t.describe(ctx)
		// Right after CreateTable the service may not know the table yet.
		if err != nil && !errors.Is(err, ErrTableNotFound) {
			return err
		}
		if err == nil && table.TableStatus != types.TableStatusCreating {
			return t.checkSchema(table)
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("wait for table %s: %w", t.name, err)
		}
	}
}

func (t *Table) enableExpiry(ctx context.Context) error {
	_, err := t.api.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: t.tableN,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(ttlAttribute), Enabled: aws.Bool(true),
		},
	})
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok && apiErr.ErrorCode() == "ValidationException" &&
		strings.Contains(apiErr.ErrorMessage(), "already enabled") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("enable expiry on table %s: %w", t.name, mapPermission(err))
	}
	return nil
}

// Check makes sure, within seconds, that the endpoint is DynamoDB (ErrNotDynamoDB, ErrUnreachable),
// that the table exists (ErrTableNotFound), that it is a limiter table (*SchemaError), and that its
// version record, if it has one, admits this client (*VersionError). It writes nothing.
func (t *Table) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	table, err := t.describe(ctx)
	if err != nil {
		return err
	}
	if err := t.checkSchema(table); err != nil {
		return err
	}
	if s := table.TableStatus; s == types.TableStatusCreating || s == types.TableStatusDeleting {
		return fmt.Errorf("table %s is not ready: its status is %s", t.name, s)
	}
	record, err := t.readVersion(ctx, false)
	if err != nil || record == nil {
		return err
	}
	return record.Admits()
}

func (t *Table) checkSchema(table *types.TableDescription) error {
	if problems := schemaProblems(table); len(problems) > 0 {
		return &SchemaError{Table: t.name, Problems: problems}
	}
	return nil
}

func (t *Table) describe(ctx context.Context) (*types.TableDescription, error) {
	out, err := t.api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: t.tableN})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return nil, fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	}
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", t.name, classifyOpening(ctx, err))
	}
	if out.Table == nil || aws.ToString(out.Table.TableName) == "" {
		return nil, fmt.Errorf("describe table %s: %w", t.name, ErrNotDynamoDB)
	}
	return out.Table, nil
}

// classifyOpening puts a reason a person can act on before the error of a first request.
func classifyOpening(ctx context.Context, err error) error {
	if mapped := mapPermission(err); mapped != err {
		return mapped
	}
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		// A reply without the service's error document surfaces as an unknown code.
		if code := apiErr.ErrorCode(); code == "UnknownError" || code == "" {
			return fmt.Errorf("%w: %w", ErrNotDynamoDB, err)
		}
		return err
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return fmt.Errorf("%w: %w", ErrNotDynamoDB, err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer in time: %w", ErrUnreachable, err)
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if isTransportError(err) {
		return fmt.Errorf("%w: %w", ErrNotDynamoDB, err)
	}
	return err
}

// isTransportError reports whether the request failed below DynamoDB's own protocol.
func isTransportError(err error) bool {
	_, ok := errors.AsType[interface {
		error
		ConnectionError() bool
	}](err)
	return ok
}
