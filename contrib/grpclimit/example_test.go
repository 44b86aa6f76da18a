package grpclimit_test

import (
	"context"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/zeroae/zae-limiter-go/contrib/grpclimit"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func Example() {
	l, err := limiter.New(memstore.New(), limiter.Options{}) // a service opens a dynamostore.Table
	if err != nil {
		log.Fatal(err)
	}
	interceptors, err := grpclimit.New(l, grpclimit.Options{
		Demand: func(ctx context.Context, method string, _ any) (request limiter.Request, limited bool) {
			user := metadata.ValueFromIncomingContext(ctx, "user")
			if len(user) != 1 {
				return limiter.Request{}, false
			}
			return limiter.Request{EntityID: user[0], Resource: "api", Consume: limiter.Amounts{"rpm": 1}}, true
		},
		Failed: func(code codes.Code) bool { return code == codes.Internal || code == codes.Unavailable },
	})
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(interceptors.Unary), grpc.StreamInterceptor(interceptors.Stream))
	defer server.Stop()
	// Output:
}
