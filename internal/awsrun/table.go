package awsrun

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Table is the limiter's table, as far as load tests need to know it.
type Table struct {
	Name, ARN, Status string
	// OnDemand tells how it is charged; ReadUnits and WriteUnits are per second: what is provisioned,
	// else what it is warm for. They are 0 when not known.
	OnDemand              bool
	ReadUnits, WriteUnits int64
	// Protected are the reasons not to load it without being told to: deletion protection, a tag that
	// says production. Unreadable is why its tags could not be read; nil when they could.
	Protected  []string
	Unreadable error
}

// productionTags are the tags that tell where a table belongs, productionValues what they say then.
var (
	productionTags   = []string{"environment", "env", "stage"}
	productionValues = []string{"prod", "production"}
)

// DescribeTable reads the table of a limiter. A missing one wraps ErrNotDeployed.
func DescribeTable(ctx context.Context, cfg aws.Config, stack Stack) (*Table, error) {
	client := dynamodb.NewFromConfig(cfg)
	out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(string(stack))})
	if missing, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return nil, fmt.Errorf("table %s: %w (%s)", stack, ErrNotDeployed, missing.ErrorMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", stack, err)
	}
	d := out.Table
	t := &Table{Name: string(stack), ARN: aws.ToString(d.TableArn), Status: string(d.TableStatus)}
	t.OnDemand = d.BillingModeSummary != nil && d.BillingModeSummary.BillingMode == types.BillingModePayPerRequest
	if w := d.WarmThroughput; w != nil {
		t.ReadUnits, t.WriteUnits = aws.ToInt64(w.ReadUnitsPerSecond), aws.ToInt64(w.WriteUnitsPerSecond)
	}
	if p := d.ProvisionedThroughput; !t.OnDemand && p != nil {
		t.ReadUnits, t.WriteUnits = aws.ToInt64(p.ReadCapacityUnits), aws.ToInt64(p.WriteCapacityUnits)
	}
	if aws.ToBool(d.DeletionProtectionEnabled) {
		t.Protected = append(t.Protected, "it has deletion protection")
	}
	t.Unreadable = t.readTags(ctx, client)
	return t, nil
}

func (t *Table) readTags(ctx context.Context, client *dynamodb.Client) error {
	in := &dynamodb.ListTagsOfResourceInput{ResourceArn: aws.String(t.ARN)}
	for {
		page, err := client.ListTagsOfResource(ctx, in)
		if err != nil {
			return fmt.Errorf("tags of table %s: %w", t.Name, err)
		}
		for _, tag := range page.Tags {
			if production(aws.ToString(tag.Key), aws.ToString(tag.Value)) {
				t.Protected = append(t.Protected, fmt.Sprintf("its tag %s is %s", aws.ToString(tag.Key), aws.ToString(tag.Value)))
			}
		}
		if aws.ToString(page.NextToken) == "" {
			return nil
		}
		in.NextToken = page.NextToken
	}
}

func production(key, value string) bool {
	return fold(productionTags, key) && fold(productionValues, value)
}

func fold(list []string, text string) bool {
	for _, candidate := range list {
		if strings.EqualFold(candidate, text) {
			return true
		}
	}
	return false
}
