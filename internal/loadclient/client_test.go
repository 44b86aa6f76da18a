package loadclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

type recorded struct{ samples []stats.Sample }

func (r *recorded) Record(s stats.Sample) { r.samples = append(r.samples, s) }

func (r *recorded) rows() string {
	var out []string
	for _, s := range r.samples {
		out = append(out, strings.TrimSpace(s.Type+" "+s.Name+" "+s.Err))
	}
	return strings.Join(out, "; ")
}

func newCaller(t *testing.T) (Caller, *recorded) {
	t.Helper()
	l, err := limiter.New(memstore.New(), limiter.Options{RejectionCacheTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{}
	return Caller{Client: New(l), Recorder: r}, r
}

var tokens = []limiter.Limit{limiter.PerMinute("tpm", 100)}

func request(n int64) limiter.Request {
	return limiter.Request{EntityID: "e", Resource: "api", Consume: limiter.Amounts{"tpm": n}, Limits: tokens}
}

func TestRowsOfALease(t *testing.T) {
	for name, c := range map[string]struct {
		use  func(ctx context.Context, l *Lease) error
		want string
	}{
		"closed unchanged": {func(ctx context.Context, l *Lease) error { return l.Close(ctx) }, "ACQUIRE row"},
		"adjusted": {func(ctx context.Context, l *Lease) error {
			return errors.Join(l.Adjust(limiter.Amounts{"tpm": 5}), l.Close(ctx), l.Close(ctx))
		}, "ACQUIRE row; COMMIT row"},
		"released": {func(ctx context.Context, l *Lease) error {
			return errors.Join(l.Release(limiter.Amounts{"tpm": 5}), l.Close(ctx))
		}, "ACQUIRE row; COMMIT row"},
		"refused more": {func(ctx context.Context, l *Lease) error {
			if granted, err := l.Consume(limiter.Amounts{"tpm": 1000}); granted || err != nil {
				return fmt.Errorf("got %v, %v", granted, err)
			}
			return l.Close(ctx)
		}, "ACQUIRE row; COMMIT row"},
		"rolled back": {func(ctx context.Context, l *Lease) error {
			return errors.Join(l.Adjust(limiter.Amounts{"tpm": 5}), l.Rollback(ctx), l.Close(ctx))
		}, "ACQUIRE row"},
	} {
		t.Run(name, func(t *testing.T) {
			caller, r := newCaller(t)
			lease, err := caller.Acquire(t.Context(), request(10), "row")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.use(t.Context(), lease); err != nil {
				t.Fatal(err)
			}
			if r.rows() != c.want {
				t.Errorf("got %q, want %q", r.rows(), c.want)
			}
			if lease.Open() {
				t.Error("the lease is open")
			}
		})
	}
}

func TestARefusalIsASuccessOfItsOwnType(t *testing.T) {
	caller, r := newCaller(t)
	lease, err := caller.Acquire(t.Context(), request(1000), "")
	if err != nil || lease.Granted() || lease.Open() {
		t.Fatalf("got %+v, %v; want a lease that is not granted", lease, err)
	}
	if r.rows() != "RATE_LIMITED api" || !r.samples[0].RateLimited || r.samples[0].Depth == 0 {
		t.Errorf("got %+v", r.samples)
	}
}

func TestAFailedCallIsAFailureOfItsRow(t *testing.T) {
	caller, r := newCaller(t)
	bad := request(1)
	bad.EntityID = "no#id"
	_, err := caller.Acquire(t.Context(), bad, "")
	var failure *Failure
	if !errors.As(err, &failure) || failure.Type != "ValidationError" || !failure.Recorded() {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(failure.Text, "no#id") {
		t.Errorf("%q names the entity: equal failures of two users would be two errors", failure.Text)
	}
	if len(r.samples) != 1 || r.samples[0].Type != TypeAcquire || r.samples[0].Err != failure.Text {
		t.Errorf("got %+v", r.samples)
	}
	unknown := request(1)
	unknown.EntityID, unknown.Consume = "someone-42", limiter.Amounts{"zzz": 1}
	_, err = caller.Acquire(t.Context(), unknown, "")
	if !errors.As(err, &failure) || !strings.Contains(failure.Text, `"zzz"`) || strings.Contains(failure.Text, unknown.EntityID) {
		t.Errorf("got %v; want an error that names the limit and not the entity", err)
	}
	if _, err := caller.CreateEntity(t.Context(), limiter.Entity{ID: "a"}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := caller.CreateEntity(t.Context(), limiter.Entity{ID: "a"}, ""); !errors.As(err, &failure) || failure.Type != "EntityExists" {
		t.Errorf("got %v, want EntityExists", err)
	}
}

type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestFailuresHaveStableTexts(t *testing.T) {
	unavailable := func(err error) error { return &limiter.UnavailableError{EntityID: "e", Resource: "r", Err: err} }
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		ctx         context.Context
		err         error
		want        string
		unreachable bool
	}{
		{err: &limiter.DisabledError{EntityID: "e", Resource: "api", Level: "resource"}, want: "ResourceDisabled: resource api is disabled (resource)"},
		{err: unavailable(&smithy.GenericAPIError{Code: "ProvisionedThroughputExceededException"}), want: "Throttled: ProvisionedThroughputExceededException"},
		{err: unavailable(&smithy.GenericAPIError{Code: "ThrottlingException"}), want: "Throttled: ThrottlingException"},
		{err: unavailable(&types.ThrottlingException{ThrottlingReasons: []types.ThrottlingReason{
			{Reason: aws.String("IndexWriteKeyRangeThroughputExceeded"), Resource: aws.String("arn:aws:dynamodb:us-east-1:000000000000:table/t/index/GSI2")},
			{Reason: aws.String("IndexWriteKeyRangeThroughputExceeded"), Resource: aws.String("arn:aws:dynamodb:us-east-1:000000000000:table/t/index/GSI2")},
		}}), want: "Throttled: ThrottlingException (IndexWriteKeyRangeThroughputExceeded on table/t/index/GSI2)"},
		{err: unavailable(&types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{{Code: aws.String("None")}, {Code: aws.String("ThrottlingError")}}}),
			want: "Throttled: TransactionCanceledException (ThrottlingError)"},
		{err: unavailable(&types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{{Code: aws.String("ConditionalCheckFailed")}}}),
			want: "Unavailable: TransactionCanceledException"},
		{err: unavailable(&smithy.GenericAPIError{Code: "InternalServerError"}), want: "Unavailable: InternalServerError"},
		{err: unavailable(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), want: "Unavailable: connection refused", unreachable: true},
		{err: unavailable(io.ErrUnexpectedEOF), want: "Unavailable: connection closed without a reply", unreachable: true},
		{err: unavailable(timeout{errors.New("127.0.0.1:8000: slow")}), want: "Unavailable: timeout"},
		{err: &limiter.PermissionError{Err: &smithy.GenericAPIError{Code: "AccessDeniedException"}}, want: "PermissionDenied: AccessDeniedException"},
		{
			err:  &limiter.PermissionError{Err: &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "User: arn:x is not authorized to perform: dynamodb:UpdateItem on resource: arn:y because no identity-based policy allows the dynamodb:UpdateItem action"}},
			want: "PermissionDenied: AccessDeniedException (dynamodb:UpdateItem)",
		},
		{err: fmt.Errorf("readers are too old: %w", limiter.ErrVersion), want: "VersionMismatch: readers are too old: limiter: version of the table"},
		{ctx: cancelled, err: unavailable(context.Canceled), want: Interrupted},
	} {
		ctx := c.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		got := Classify(ctx, c.err)
		if got.Text != c.want || got.Unreachable != c.unreachable {
			t.Errorf("%v: got %q (unreachable %v), want %q (%v)", c.err, got.Text, got.Unreachable, c.want, c.unreachable)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%v: the cause is lost", c.err)
		}
	}
}
