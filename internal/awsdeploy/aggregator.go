package awsdeploy

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// MappingAPI is the part of Lambda's client that tells about what reads a stream for a function.
type MappingAPI interface {
	ListEventSourceMappings(context.Context, *lambda.ListEventSourceMappingsInput, ...func(*lambda.Options)) (*lambda.ListEventSourceMappingsOutput, error)
}

// Times of a new event source mapping (aws.md 4.1).
const (
	defaultMappingPoll = 5 * time.Second
	mappingWithin      = 2 * time.Minute
	// MappingSettles is how long a mapping that begins with what is latest may still miss records after it
	// says that it is enabled.
	MappingSettles = 45 * time.Second
)

// MappingWait says how an event source mapping is waited for.
type MappingWait struct {
	// Function is what the mapping invokes: a name or an ARN, with the alias.
	Function string
	// Poll is the time between two looks; 0 = 5 s.
	Poll time.Duration
	// Settles is how long the mapping must have been enabled.
	Settles time.Duration
}

// Await waits until a mapping reads its stream, two minutes at the most. What it returns says why it may not
// do so yet, "" when it does.
func (w *MappingWait) Await(ctx context.Context, api MappingAPI) (problem string, err error) {
	deadline := time.Now().Add(mappingWithin)
	var enabled time.Time
	for {
		out, err := api.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: &w.Function})
		if err != nil {
			return "", fmt.Errorf("event source mappings of %s: %w", w.Function, err)
		}
		switch problem = mappingProblem(out.EventSourceMappings); {
		case problem != "":
			enabled = time.Time{}
		case enabled.IsZero():
			enabled = time.Now()
		}
		if !enabled.IsZero() && time.Since(enabled) >= w.Settles || time.Now().After(deadline) {
			return problem, nil
		}
		select {
		case <-time.After(cmp.Or(w.Poll, defaultMappingPoll)):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// mappingProblem says why no mapping reads the stream, "" when one does.
func mappingProblem(mappings []types.EventSourceMappingConfiguration) string {
	if len(mappings) == 0 {
		return "it has no event source mapping"
	}
	m := &mappings[0]
	result := aws.ToString(m.LastProcessingResult)
	switch {
	case aws.ToString(m.State) != "Enabled":
		return "its event source mapping is " + aws.ToString(m.State)
	case result != "" && result != "OK" && result != "No records processed":
		return "its event source mapping says " + result
	}
	return ""
}
