package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers returns the types that stacks may have.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{"AWS::DynamoDB::Table": &tableProvider{s}}
}

type tableProvider struct{ service *Service }

// properties are those that differ from CreateTable's members.
type properties struct {
	StreamSpecification     *struct{ StreamViewType types.StreamViewType }
	TimeToLiveSpecification *struct {
		AttributeName string
		Enabled       bool
	}
	SSESpecification *struct {
		SSEEnabled     bool
		SSEType        types.SSEType
		KMSMasterKeyID *string
	}
}

// read returns the body of CreateTable and the time to live's attribute ("" = off). Point-in-time
// recovery is accepted: nothing of it shows here.
func (p *tableProvider) read(r *resource.Resource) (*dynamodb.CreateTableInput, string, error) {
	in := &dynamodb.CreateTableInput{}
	own := maps.Clone(r.Properties)
	for _, name := range []string{"StreamSpecification", "SSESpecification", "Tags"} { // these have other members
		delete(own, name)
	}
	if err := resource.Decode(own, in); err != nil {
		return nil, "", err
	}
	var more properties
	if err := resource.Decode(r.Properties, &more); err != nil {
		return nil, "", err
	}
	if more.StreamSpecification != nil {
		in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: more.StreamSpecification.StreamViewType}
	}
	if more.SSESpecification != nil {
		in.SSESpecification = &types.SSESpecification{Enabled: &more.SSESpecification.SSEEnabled, SSEType: more.SSESpecification.SSEType, KMSMasterKeyId: more.SSESpecification.KMSMasterKeyID}
	}
	tags, err := r.AllTags()
	if err != nil {
		return nil, "", err
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	ttl := ""
	if more.TimeToLiveSpecification != nil && more.TimeToLiveSpecification.Enabled {
		ttl = more.TimeToLiveSpecification.AttributeName
	}
	return in, ttl, nil
}

// Create implements resource.Provider.
func (p *tableProvider) Create(ctx context.Context, r *resource.Resource) (*resource.Physical, error) {
	in, ttl, err := p.read(r)
	if err != nil {
		return nil, err
	}
	if in.TableName == nil {
		in.TableName = aws.String(r.Stack + "-" + r.LogicalID + "-" + rand.Text()[:12])
	}
	if _, err := p.service.client.CreateTable(ctx, in); err != nil {
		return nil, err
	}
	if err := p.service.waitFor(ctx, *in.TableName); err != nil {
		return nil, err
	}
	if ttl != "" {
		if err := p.setTTL(ctx, *in.TableName, ttl, true); err != nil {
			return nil, err
		}
	}
	return p.physical(ctx, *in.TableName)
}

// waitFor returns when a table is active; creation takes as long as the engine's configuration says.
func (s *Service) waitFor(ctx context.Context, table string) error {
	waiter := dynamodb.NewTableExistsWaiter(s.client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	return waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &table}, 10*time.Minute)
}

func (p *tableProvider) setTTL(ctx context.Context, table, attribute string, on bool) error {
	_, err := p.service.client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: &table, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: &attribute, Enabled: &on},
	})
	return err
}

func (p *tableProvider) physical(ctx context.Context, table string) (*resource.Physical, error) {
	p.service.forget(table)
	out, err := p.service.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	if err != nil {
		return nil, err
	}
	made := &resource.Physical{ID: table, Attributes: map[string]string{"Arn": *out.Table.TableArn, "TableId": aws.ToString(out.Table.TableId)}}
	if out.Table.LatestStreamArn != nil {
		made.Attributes["StreamArn"] = *out.Table.LatestStreamArn
	}
	return made, nil
}

// Update implements resource.Provider.
func (p *tableProvider) Update(ctx context.Context, old *resource.Physical, from, to *resource.Resource) (*resource.Physical, error) {
	had, hadTTL, err := p.read(from)
	if err != nil {
		return nil, err
	}
	want, wantTTL, err := p.read(to)
	if err != nil {
		return nil, err
	}
	changes, err := updatesOf(old.ID, had, want)
	if err != nil {
		return nil, err
	}
	for _, change := range changes {
		if _, err := p.service.client.UpdateTable(ctx, change); err != nil {
			return nil, err
		}
		if err := p.service.waitFor(ctx, old.ID); err != nil {
			return nil, err
		}
	}
	if hadTTL != wantTTL {
		if hadTTL != "" {
			err = p.setTTL(ctx, old.ID, hadTTL, false)
		}
		if err == nil && wantTTL != "" {
			err = p.setTTL(ctx, old.ID, wantTTL, true)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := p.retag(ctx, old.ID, had.Tags, want.Tags); err != nil {
		return nil, err
	}
	return p.physical(ctx, old.ID)
}

// updatesOf are the calls that make the one definition of the other. CloudFormation changes one index
// in an update.
func updatesOf(table string, had, want *dynamodb.CreateTableInput) ([]*dynamodb.UpdateTableInput, error) {
	var changes []*dynamodb.UpdateTableInput
	if aws.ToBool(had.DeletionProtectionEnabled) != aws.ToBool(want.DeletionProtectionEnabled) {
		changes = append(changes, &dynamodb.UpdateTableInput{TableName: &table, DeletionProtectionEnabled: aws.Bool(aws.ToBool(want.DeletionProtectionEnabled))})
	}
	if had.BillingMode != want.BillingMode || !sameUnits(had.ProvisionedThroughput, want.ProvisionedThroughput) {
		changes = append(changes, &dynamodb.UpdateTableInput{TableName: &table, BillingMode: want.BillingMode, ProvisionedThroughput: want.ProvisionedThroughput})
	}
	if viewOf(had) != viewOf(want) {
		if viewOf(had) != "" {
			changes = append(changes, &dynamodb.UpdateTableInput{TableName: &table, StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(false)}})
		}
		if viewOf(want) != "" {
			changes = append(changes, &dynamodb.UpdateTableInput{TableName: &table, StreamSpecification: want.StreamSpecification})
		}
	}
	indexes := indexUpdates(had.GlobalSecondaryIndexes, want.GlobalSecondaryIndexes)
	if len(indexes) > 1 {
		return nil, protocol.Errorf("ValidationException", "Cannot perform more than one GSI creation or deletion in a single update")
	}
	if len(indexes) == 1 {
		changes = append(changes, &dynamodb.UpdateTableInput{TableName: &table, AttributeDefinitions: want.AttributeDefinitions, GlobalSecondaryIndexUpdates: indexes})
	}
	return changes, nil
}

func sameUnits(a, b *types.ProvisionedThroughput) bool {
	if a == nil || b == nil {
		return a == b
	}
	return aws.ToInt64(a.ReadCapacityUnits) == aws.ToInt64(b.ReadCapacityUnits) && aws.ToInt64(a.WriteCapacityUnits) == aws.ToInt64(b.WriteCapacityUnits)
}

func viewOf(in *dynamodb.CreateTableInput) types.StreamViewType {
	if in.StreamSpecification == nil {
		return ""
	}
	return in.StreamSpecification.StreamViewType
}

func indexUpdates(had, want []types.GlobalSecondaryIndex) (updates []types.GlobalSecondaryIndexUpdate) {
	named := func(indexes []types.GlobalSecondaryIndex, name *string) bool {
		return slices.ContainsFunc(indexes, func(i types.GlobalSecondaryIndex) bool { return *i.IndexName == *name })
	}
	for _, index := range had {
		if !named(want, index.IndexName) {
			updates = append(updates, types.GlobalSecondaryIndexUpdate{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: index.IndexName}})
		}
	}
	for _, index := range want {
		if !named(had, index.IndexName) {
			updates = append(updates, types.GlobalSecondaryIndexUpdate{Create: &types.CreateGlobalSecondaryIndexAction{
				IndexName: index.IndexName, KeySchema: index.KeySchema, Projection: index.Projection, ProvisionedThroughput: index.ProvisionedThroughput,
			}})
		}
	}
	return updates
}

func (p *tableProvider) retag(ctx context.Context, table string, had, want []types.Tag) error {
	arn := aws.String(p.service.tableARN(table))
	var gone []string
	for _, tag := range had {
		if !slices.ContainsFunc(want, func(w types.Tag) bool { return *w.Key == *tag.Key }) {
			gone = append(gone, *tag.Key)
		}
	}
	if len(gone) > 0 {
		if _, err := p.service.client.UntagResource(ctx, &dynamodb.UntagResourceInput{ResourceArn: arn, TagKeys: gone}); err != nil {
			return err
		}
	}
	if len(want) == 0 {
		return nil
	}
	_, err := p.service.client.TagResource(ctx, &dynamodb.TagResourceInput{ResourceArn: arn, Tags: want})
	return err
}

// Delete implements resource.Provider.
func (p *tableProvider) Delete(ctx context.Context, old *resource.Physical, _ *resource.Resource) error {
	_, err := p.service.client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &old.ID})
	if _, gone := errors.AsType[*types.ResourceNotFoundException](err); gone {
		return nil
	}
	if err != nil {
		return err
	}
	p.service.forget(old.ID)
	waiter := dynamodb.NewTableNotExistsWaiter(p.service.client, func(o *dynamodb.TableNotExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &old.ID}, 10*time.Minute); err != nil {
		return fmt.Errorf("table %s goes: %w", old.ID, err)
	}
	return nil
}

// Replaces implements resource.Provider. A changed definition of an attribute is one of a key.
func (*tableProvider) Replaces(property string, _, _ any) resource.Replacement {
	switch property {
	case "TableName", "KeySchema", "LocalSecondaryIndexes":
		return resource.Always
	case "AttributeDefinitions":
		return resource.Conditionally
	default:
		return resource.Never
	}
}
