package grpclimit_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/zeroae/zae-limiter-go/contrib/grpclimit"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func clock() time.Time { return time.UnixMilli(1_800_000_000_000) }

// store can be made to fail.
type store struct {
	*memstore.Store
	down bool
}

func (s *store) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	if s.down {
		return errors.New("connection refused to 10.0.0.7")
	}
	return s.Store.Consume(ctx, in, out)
}

type server struct {
	limiter *limiter.Limiter
	store   *store
	client  healthpb.HealthClient
}

// checker answers as it is told.
type checker struct {
	*health.Server
	check func(context.Context) error
}

func (c *checker) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{}, c.check(ctx)
}

func serve(t *testing.T, check func(context.Context) error) *server {
	t.Helper()
	s := &server{store: &store{Store: memstore.New()}}
	var err error
	if s.limiter, err = limiter.New(s.store, limiter.Options{Clock: clock, RejectionCacheTTL: -1}); err != nil {
		t.Fatal(err)
	}
	if err := s.limiter.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	interceptors, err := grpclimit.New(s.limiter, grpclimit.Options{
		Demand: func(_ context.Context, method string, message any) (limiter.Request, bool) {
			request, unary := message.(*healthpb.HealthCheckRequest)
			resource := "stream"
			if unary {
				resource = request.Service
			}
			return limiter.Request{EntityID: "user-1", Resource: resource, Consume: limiter.Amounts{"rpm": 1}}, resource != "free"
		},
		Failed: func(code codes.Code) bool { return code == codes.Internal },
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 16)
	host := grpc.NewServer(grpc.UnaryInterceptor(interceptors.Unary), grpc.StreamInterceptor(interceptors.Stream))
	healthpb.RegisterHealthServer(host, &checker{health.NewServer(), check})
	go func() { _ = host.Serve(listener) }() // ends with Stop
	t.Cleanup(host.Stop)
	connection, err := grpc.NewClient("passthrough:///server", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	s.client = healthpb.NewHealthClient(connection)
	return s
}

func (s *server) call(t *testing.T, resource string) error {
	t.Helper()
	_, err := s.client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: resource})
	return err
}

func (s *server) available(t *testing.T) int64 {
	t.Helper()
	available, err := s.limiter.Available(t.Context(), "user-1", "api", nil)
	if err != nil {
		t.Fatal(err)
	}
	return available["rpm"]
}

func TestCallsOverALimitAreRefused(t *testing.T) {
	s := serve(t, func(context.Context) error { return nil })
	if err := s.call(t, "api"); err != nil {
		t.Fatal(err)
	}
	refused := status.Convert(s.call(t, "api"))
	if refused.Code() != codes.ResourceExhausted {
		t.Fatalf("got %v, want ResourceExhausted", refused)
	}
	var retry *errdetails.RetryInfo
	var failure *errdetails.QuotaFailure
	for _, detail := range refused.Details() {
		switch d := detail.(type) {
		case *errdetails.RetryInfo:
			retry = d
		case *errdetails.QuotaFailure:
			failure = d
		}
	}
	if got := retry.GetRetryDelay().AsDuration(); got != 60001*time.Millisecond {
		t.Errorf("retry after %v, want 60.001 s", got)
	}
	if v := failure.GetViolations(); len(v) != 1 || v[0].Subject != "user-1/api" || v[0].Description != "rpm" {
		t.Errorf("violations: got %v", v)
	}
	for range 2 {
		if err := s.call(t, "free"); err != nil {
			t.Errorf("a call that is not limited: %v", err)
		}
	}
}

func TestStreamsAreLimitedAsOneCall(t *testing.T) {
	s := serve(t, func(context.Context) error { return nil })
	for i, want := range []codes.Code{codes.OK, codes.ResourceExhausted} {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := s.client.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != want {
			t.Errorf("stream %d: got %v, want %v", i, err, want)
		}
		cancel()
	}
}

func TestFailedCallsGiveBackWhatTheyTook(t *testing.T) {
	answer := status.Error(codes.Internal, "broken")
	s := serve(t, func(context.Context) error { return answer })
	if err := s.call(t, "api"); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
	if got := s.available(t); got != 1 {
		t.Errorf("after a failure %d are left, want 1", got)
	}
	answer = status.Error(codes.NotFound, "none")
	if err := s.call(t, "api"); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	if got := s.available(t); got != 0 {
		t.Errorf("after another answer %d are left, want 0", got)
	}
}

func TestHandlersAdjustTheirLease(t *testing.T) {
	s := serve(t, func(ctx context.Context) error {
		return grpclimit.Lease(ctx).Adjust(limiter.Amounts{"rpm": 4})
	})
	if err := s.call(t, "api"); err != nil {
		t.Fatal(err)
	}
	if got := s.available(t); got != -4 {
		t.Errorf("%d are left, want -4", got)
	}
}

func TestOtherRefusals(t *testing.T) {
	s := serve(t, func(context.Context) error { return nil })
	if err := s.call(t, "no such#name"); status.Code(err) != codes.Internal {
		t.Errorf("a mistake of the service: got %v, want Internal", err)
	}
	if _, err := s.limiter.Admin().Disable(t.Context(), "", "api"); err != nil {
		t.Fatal(err)
	}
	if err := s.call(t, "api"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("disabled: got %v, want PermissionDenied", err)
	}
	s.store.down = true
	if err := s.call(t, "other"); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "rate limiter unavailable" {
		t.Errorf("unavailable: got %v, want Unavailable without the cause", err)
	}
}
