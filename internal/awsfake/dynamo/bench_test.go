package dynamo_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/dynamo"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
)

// BenchmarkGetItem is a call of a caller with policies, through client, front and engine.
func BenchmarkGetItem(b *testing.B) {
	service, err := dynamo.New(protocoltest.Account, protocoltest.Region, dynamolocal.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer service.Close()
	account := iam.New(iam.Options{Account: protocoltest.Account})
	config := protocoltest.Client(b, &protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: []protocol.Service{service.API()}, Keys: account})
	if _, err := service.Providers()["AWS::DynamoDB::Table"].Create(b.Context(), template(nil)); err != nil {
		b.Fatal(err)
	}
	id, secret, err := account.AddUser("reader", `{"Statement":{"Effect":"Allow","Action":"dynamodb:GetItem","Resource":"`+tableARN+`"}}`)
	if err != nil {
		b.Fatal(err)
	}
	client := dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, "") })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.GetItem(b.Context(), &dynamodb.GetItemInput{TableName: aws.String("limiter"), Key: key("a")}); err != nil {
			b.Fatal(err)
		}
	}
}
