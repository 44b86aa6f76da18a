package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// aggregatorEnd is what deploy and upgrade did about the aggregator.
type aggregatorEnd struct {
	Function string `json:"function"`
	BuildID  string `json:"build_id"`
	CodeSent bool   `json:"code_sent"`
	Version  string `json:"version"` // the one that is invoked
}

// architecture is that of the aggregator: the one given, that of the stack, or this program's.
func architecture(given *functionFlags, before *stack.Stack) string {
	had := ""
	if before != nil {
		had = before.Parameters["AggregatorArchitecture"]
	}
	return cmp.Or(given.arch, had, defaultArch())
}

// aggregatorBuild is this program as the code of a function.
func (s *stacker) aggregatorBuild(given, arch string) (*artifact.Build, error) {
	binary, err := s.linuxBinary(given, arch)
	if errors.Is(err, artifact.ErrNoBinary) {
		err = withHint(err, "take it from a release or build it (make dist), and name it with --binary; or do without the aggregator: --no-aggregator")
	}
	if err != nil {
		return nil, usage(err)
	}
	build, err := artifact.NewBuild(binary, arch, &artifact.Files{})
	return build, usage(err)
}

// sendAggregator gives the aggregator of a stack the code of a build, lets its alias point at it, and waits
// until a mapping that is new reads the stream.
func (s *stacker) sendAggregator(ctx context.Context, result *stack.Result, build *artifact.Build, document *limiterDocument) error {
	if !awsdeploy.HasAggregator(result.Stack) {
		s.warn("stack " + result.Stack.Name + " was to have an aggregator and has no output AggregatorFunctionName: nothing follows the table's stream")
		return nil
	}
	client := lambda.NewFromConfig(s.account.Config)
	name, arn := result.Stack.Outputs["AggregatorFunctionName"], result.Stack.Outputs["AggregatorFunctionArn"]
	had, err := artifact.ReadMark(ctx, client, arn)
	if err != nil {
		return err
	}
	code := sync.OnceValues(build.Package)
	mark := artifact.Mark{BuildID: build.ID, CodeSHA256: had.CodeSHA256, Release: dynamostore.WireVersion}
	if had.BuildID != build.ID || mark.CodeSHA256 == "" {
		archive, err := code()
		if err != nil {
			return err
		}
		mark.CodeSHA256 = artifact.CodeSHA256(archive)
	}
	end := &aggregatorEnd{Function: name, BuildID: build.ID}
	function := &artifact.Function{API: client, Name: name, Poll: pollOf(s.account)}
	if end.CodeSent, err = function.Update(ctx, build.Arch, mark.CodeSHA256, code); err != nil {
		return err
	}
	published, err := (&artifact.Publication{API: client, Function: name, Poll: pollOf(s.account)}).Publish(ctx, mark.CodeSHA256)
	if err != nil {
		return err
	}
	end.Version = published.Version
	if mark != had {
		if err := artifact.WriteMark(ctx, client, arn, mark); err != nil {
			return err
		}
	}
	state := "code unchanged"
	if end.CodeSent {
		state = "code of build " + build.ID
	}
	s.tell("aggregator %s: %s, version %s is %s", name, state, end.Version, artifact.Live)
	document.Aggregator = end
	if !hasNewMapping(result) {
		return nil
	}
	return s.awaitMapping(ctx, client, name, arn)
}

// hasNewMapping reports whether an update, or a creation, made the mapping that reads the stream.
func hasNewMapping(r *stack.Result) bool {
	return slices.ContainsFunc(r.Changes, func(c stack.Change) bool {
		return c.LogicalID == "AggregatorEventSourceMapping" && c.Action == "Add"
	})
}

// awaitMapping waits until the mapping of a function reads the stream. What was changed before that would be
// missing from the usage.
func (s *stacker) awaitMapping(ctx context.Context, client awsdeploy.MappingAPI, name, arn string) error {
	w := awsdeploy.MappingWait{Function: arn + ":" + artifact.Live, Poll: pollOf(s.account), Settles: awsdeploy.MappingSettles}
	if s.account.EndpointURL != "" {
		w.Settles = 0 // what plays AWS on this machine misses nothing
	} else {
		s.tell("aggregator %s: waiting until it follows the stream, %s at least", name, awsdeploy.MappingSettles.Round(time.Second))
	}
	problem, err := w.Await(ctx, client)
	if err == nil && problem != "" {
		s.warn("aggregator " + name + " may not follow the stream yet: " + problem)
	}
	return err
}
