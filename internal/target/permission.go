package target

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// ErrNoBuckets says that the caller may not create buckets, so that every new entity's acquire would fail.
var ErrNoBuckets = errors.New("new buckets cannot be created")

// checkPermission asks, before any user starts, whether buckets may be created in a namespace: with a
// check of an item that is not there, which writes nothing. Policies from before 0.17 lack the action
// dynamodb:ConditionCheckItem (aws.md 6.4). Engines of this machine have no policies.
func (t *Target) checkPermission(ctx context.Context, namespace string) error {
	if !t.config.AWS && isLoopback(t.info.Endpoint) {
		return nil
	}
	_, err := t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{{
		ConditionCheck: &types.ConditionCheck{
			TableName: aws.String(t.config.Table), ConditionExpression: aws.String("attribute_not_exists(PK)"),
			Key: map[string]types.AttributeValue{
				"PK": &types.AttributeValueMemberS{Value: namespace + "/PERMISSION"}, "SK": &types.AttributeValueMemberS{Value: "#CHECK"},
			},
		},
	}}})
	refused, ok := errors.AsType[smithy.APIError](err)
	if !ok || refused.ErrorCode() != "AccessDeniedException" {
		if err != nil {
			return fmt.Errorf("check of the permission to create buckets: %w", err)
		}
		return nil
	}
	// The service's own words name who may not do what on which table, and why.
	return fmt.Errorf("%w: %s; %s", ErrNoBuckets, refused.ErrorMessage(), t.wayOut(ctx, refused.ErrorMessage()))
}

// wayOut is what helps against a denial, by the cause that its text ends with.
func (t *Target) wayOut(ctx context.Context, denial string) string {
	switch {
	case strings.Contains(denial, "explicit deny"):
		return "that is an explicit deny, which only the account's administrators can change"
	case strings.Contains(denial, "permissions boundary"):
		return "the permission boundary of the caller does not allow it, the account's administrators have to extend it; no upgrade helps"
	}
	text := fmt.Sprintf("the policies of stack %s are from before 0.17 when they do not allow it: run `zae-limiter upgrade --name %[1]s`", t.config.Table)
	// A table that cannot be described is treated as one of the newer kind.
	table, err := t.api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.config.Table})
	if err == nil && len(table.Table.LocalSecondaryIndexes) == 0 {
		return text + ", as Python's upgrade refuses to replace a table without local indexes, or attach a policy with this one action on the table, or make a new limiter"
	}
	return text + " (Python's: 0.17 or later, without --lambda-only); the load test needs no new deployment"
}
