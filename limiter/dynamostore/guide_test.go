package dynamostore_test

import (
	"context"
	"log"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// What a service does at its start, with the credentials of its role.
func ExampleTable_Open() {
	ctx := context.Background()
	account, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{Region: account.Region, Credentials: account.Credentials})
	if err != nil {
		log.Fatal(err)
	}
	table := dynamostore.OpenTable(client, "zae-limiter", dynamostore.TableOptions{})
	store, err := table.Open(ctx, "default")
	if err != nil {
		log.Fatal(err)
	}
	l, err := limiter.New(store, limiter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	_ = l
}
