package lambda

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// How queued events are delivered when a function says nothing (aws.md 5.4).
const (
	defaultRetries  = 2
	defaultEventAge = 6 * 60 * 60 // seconds
	firstBackOff    = time.Second // after a throttle; it doubles
	longestBackOff  = 5 * time.Minute
)

func (s *Service) putEventConfig(_ context.Context, call *protocol.Call, in *lambda.PutFunctionEventInvokeConfigInput) (*lambda.PutFunctionEventInvokeConfigOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "PutFunctionEventInvokeConfig", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	c, err := s.setEventConfig(f, in)
	if err != nil {
		return nil, err
	}
	return &lambda.PutFunctionEventInvokeConfigOutput{
		FunctionArn: c.FunctionArn, LastModified: c.LastModified, DestinationConfig: c.DestinationConfig,
		MaximumRetryAttempts: c.MaximumRetryAttempts, MaximumEventAgeInSeconds: c.MaximumEventAgeInSeconds,
	}, nil
}

// setEventConfig says how events of a qualifier are delivered. s.mu is held.
func (s *Service) setEventConfig(f *found, in *lambda.PutFunctionEventInvokeConfigInput) (types.FunctionEventInvokeConfig, error) {
	if _, err := f.version(); err != nil {
		return types.FunctionEventInvokeConfig{}, err
	}
	if n := in.MaximumRetryAttempts; n != nil && (*n < 0 || *n > defaultRetries) {
		return types.FunctionEventInvokeConfig{}, invalid("MaximumRetryAttempts must be between 0 and %d", defaultRetries)
	}
	if age := in.MaximumEventAgeInSeconds; age != nil && (*age < 60 || *age > defaultEventAge) {
		return types.FunctionEventInvokeConfig{}, invalid("MaximumEventAgeInSeconds must be between 60 and %d", defaultEventAge)
	}
	arn := f.qualified()
	if f.qualifier == "" {
		arn += ":" + latest
	}
	c := types.FunctionEventInvokeConfig{
		FunctionArn: &arn, LastModified: aws.Time(s.config.Now()), DestinationConfig: in.DestinationConfig,
		MaximumRetryAttempts: in.MaximumRetryAttempts, MaximumEventAgeInSeconds: in.MaximumEventAgeInSeconds,
	}
	f.Events[eventKey(f.qualifier)] = c
	return c, nil
}

// eventKey is the qualifier under which the delivery of events is kept: none means what is not published.
func eventKey(qualifier string) string {
	if qualifier == latest {
		return ""
	}
	return qualifier
}

func (s *Service) getEventConfig(_ context.Context, call *protocol.Call, in *lambda.GetFunctionEventInvokeConfigInput) (*lambda.GetFunctionEventInvokeConfigOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "GetFunctionEventInvokeConfig", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	c, ok := f.Events[eventKey(f.qualifier)]
	if !ok {
		return nil, notFound("The function %s doesn't have an EventInvokeConfig", f.qualified())
	}
	return &lambda.GetFunctionEventInvokeConfigOutput{
		FunctionArn: c.FunctionArn, LastModified: c.LastModified, DestinationConfig: c.DestinationConfig,
		MaximumRetryAttempts: c.MaximumRetryAttempts, MaximumEventAgeInSeconds: c.MaximumEventAgeInSeconds,
	}, nil
}

func (s *Service) deleteEventConfig(_ context.Context, call *protocol.Call, in *lambda.DeleteFunctionEventInvokeConfigInput) (*lambda.DeleteFunctionEventInvokeConfigOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "DeleteFunctionEventInvokeConfig", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	delete(f.Events, eventKey(f.qualifier))
	return &lambda.DeleteFunctionEventInvokeConfigOutput{}, nil
}

// event is an asynchronous call in the queue.
type event struct {
	id             string
	arn, qualifier string
	payload        []byte
	queued         time.Time
}

// deliver calls the function for an event: again after an error as often as its configuration allows,
// and after a throttle until the event is too old.
func (s *Service) deliver(e event) {
	retries, backOff := 0, firstBackOff
	s.metric(e.arn, "AsyncEventsReceived", 1, "Count")
	for s.running.Err() == nil {
		f, target, most, oldest := s.delivery(e)
		age := s.config.Now().Sub(e.queued)
		if f == nil || age > oldest {
			s.metric(e.arn, "AsyncEventsDropped", 1, "Count")
			return
		}
		pause := backOff
		if s.begin(f) == nil {
			s.metric(e.arn, "AsyncEventAge", float64(age.Milliseconds()), "Milliseconds")
			out := s.execute(target, e.id, e.payload)
			s.leave(e.arn)
			if out.failure == "" {
				return
			}
			if retries >= most {
				s.metric(e.arn, "AsyncEventsDropped", 1, "Count")
				return
			}
			retries++
			pause = time.Duration(retries) * time.Minute
		} else {
			backOff = min(2*backOff, longestBackOff)
		}
		if s.config.Wait(s.running, pause) != nil {
			return
		}
	}
}

// delivery is what an event is for now, and how often and how long it is tried; f is nil when the
// function is gone.
func (s *Service) delivery(e event) (f *found, t target, retries int, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.functions[e.arn]
	if there == nil {
		return nil, t, 0, 0
	}
	f = &found{arn: e.arn, qualifier: e.qualifier, function: there}
	config, err := f.version()
	if err != nil {
		return nil, t, 0, 0
	}
	said := there.Events[eventKey(e.qualifier)]
	retries = int(orElse(said.MaximumRetryAttempts, defaultRetries))
	age = time.Duration(orElse(said.MaximumEventAgeInSeconds, defaultEventAge)) * time.Second
	return f, s.targetOf(f, config), retries, age
}

func orElse(given *int32, otherwise int32) int32 {
	if given == nil {
		return otherwise
	}
	return *given
}
