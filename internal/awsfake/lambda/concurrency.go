package lambda

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// leastUnreserved is what must stay for functions without a reservation, in accounts that have as much.
const leastUnreserved = 100

// unreserved is how many concurrent calls are left to functions without a reservation, when one
// function is not counted. s.mu is held.
func (s *Service) unreserved(without *function) int {
	left := s.config.Concurrency
	for _, f := range s.functions {
		if f != without && f.Reserved != nil {
			left -= int(*f.Reserved)
		}
	}
	return left
}

// reserve reserves concurrent calls for a function. s.mu is held.
func (s *Service) reserve(f *function, calls int32) error {
	if calls < 0 {
		return invalid("ReservedConcurrentExecutions must be at least 0")
	}
	if least := min(leastUnreserved, s.config.Concurrency); s.unreserved(f)-int(calls) < least {
		return invalid("Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", least)
	}
	f.Reserved = &calls
	return nil
}

func (s *Service) putConcurrency(_ context.Context, call *protocol.Call, in *lambda.PutFunctionConcurrencyInput) (*lambda.PutFunctionConcurrencyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "PutFunctionConcurrency", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if err := s.reserve(f.function, aws.ToInt32(in.ReservedConcurrentExecutions)); err != nil {
		return nil, err
	}
	return &lambda.PutFunctionConcurrencyOutput{ReservedConcurrentExecutions: f.Reserved}, nil
}

func (s *Service) getConcurrency(_ context.Context, call *protocol.Call, in *lambda.GetFunctionConcurrencyInput) (*lambda.GetFunctionConcurrencyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "GetFunctionConcurrency", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	return &lambda.GetFunctionConcurrencyOutput{ReservedConcurrentExecutions: f.Reserved}, nil
}

func (s *Service) deleteConcurrency(_ context.Context, call *protocol.Call, in *lambda.DeleteFunctionConcurrencyInput) (*lambda.DeleteFunctionConcurrencyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "DeleteFunctionConcurrency", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	f.Reserved = nil
	return &lambda.DeleteFunctionConcurrencyOutput{}, nil
}

func (s *Service) getAccountSettings(_ context.Context, call *protocol.Call, _ *lambda.GetAccountSettingsInput) (*lambda.GetAccountSettingsOutput, error) {
	if err := call.Allow("lambda:GetAccountSettings"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int64(0)
	for _, f := range s.functions {
		size += f.Latest.CodeSize
		for _, v := range f.Versions {
			size += v.CodeSize
		}
	}
	return &lambda.GetAccountSettingsOutput{
		AccountLimit: &types.AccountLimit{
			ConcurrentExecutions: int32(s.config.Concurrency), UnreservedConcurrentExecutions: aws.Int32(int32(s.unreserved(nil))),
			CodeSizeZipped: maxZip, CodeSizeUnzipped: maxUnpacked, TotalCodeSize: 75 << 30,
		},
		AccountUsage: &types.AccountUsage{FunctionCount: int64(len(s.functions)), TotalCodeSize: size},
	}, nil
}

// enter counts a call of a function that begins, or refuses it. s.mu is held.
func (s *Service) enter(arn string, f *function) error {
	reason, limit, busy := "", 0, 0
	if f.Reserved != nil {
		reason, limit, busy = "ReservedFunctionConcurrentInvocationLimitExceeded", int(*f.Reserved), s.busy[arn]
	} else {
		reason, limit = "ConcurrentInvocationLimitExceeded", s.unreserved(nil)
		for other, calls := range s.busy {
			if g := s.functions[other]; g == nil || g.Reserved == nil {
				busy += calls
			}
		}
	}
	if busy >= limit {
		return &protocol.Error{
			Status: http.StatusTooManyRequests, Code: "TooManyRequestsException", Message: "Rate Exceeded.",
			Fields: map[string]any{"Reason": reason, "Type": "User"},
		}
	}
	s.busy[arn]++
	return nil
}

// leave counts a call that has ended.
func (s *Service) leave(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[arn]--; s.busy[arn] == 0 {
		delete(s.busy, arn)
	}
}
