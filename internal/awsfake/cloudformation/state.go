package cloudformation

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
)

// state is how the service is kept between runs.
type state struct {
	Version int
	Stacks  []*stack
}

const stateVersion = 1

// MarshalState gives all stacks as JSON. Parameters with NoEcho are in it in clear text.
func (s *Service) MarshalState() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := json.Marshal(state{stateVersion, s.stacks})
	if err != nil {
		return nil, fmt.Errorf("stacks to JSON: %w", err)
	}
	return data, nil
}

// UnmarshalState puts kept stacks in the place of those of the service, which must have none at work. A
// stack that was kept in the middle of an operation is in a failed state afterwards.
func (s *Service) UnmarshalState(data []byte) error {
	var kept state
	if err := json.Unmarshal(data, &kept); err != nil {
		return fmt.Errorf("kept stacks: %w", err)
	}
	if kept.Version != stateVersion {
		return fmt.Errorf("kept stacks have version %d, this program reads %d", kept.Version, stateVersion)
	}
	for _, st := range kept.Stacks {
		for _, d := range st.definitions() {
			var err error
			if d.template, err = template.Parse(d.Body); err != nil {
				return fmt.Errorf("kept stack %s: %w", st.Name, err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stacks = kept.Stacks
	for _, st := range s.stacks {
		if after, ok := brokenOff[st.Status]; ok {
			s.setStatus(st, after, errClosed.Error(), nil)
		}
		for _, set := range st.ChangeSets {
			if set.Execution == types.ExecutionStatusExecuteInProgress {
				set.Execution = types.ExecutionStatusExecuteFailed
			}
			if set.Status == types.ChangeSetStatusCreatePending || set.Status == types.ChangeSetStatusCreateInProgress {
				set.Status, set.Reason = types.ChangeSetStatusFailed, errClosed.Error()
			}
		}
	}
	return nil
}

// definitions are all definitions of a stack.
func (st *stack) definitions() []*definition {
	var out []*definition
	for _, d := range []*definition{st.Definition, st.Previous} {
		if d != nil {
			out = append(out, d)
		}
	}
	for _, set := range st.ChangeSets {
		out = append(out, set.Definition)
	}
	return out
}

// brokenOff is what becomes of a stack whose operation was broken off.
var brokenOff = map[types.StackStatus]types.StackStatus{
	types.StackStatusCreateInProgress:                        types.StackStatusRollbackFailed,
	types.StackStatusRollbackInProgress:                      types.StackStatusRollbackFailed,
	types.StackStatusDeleteInProgress:                        types.StackStatusDeleteFailed,
	types.StackStatusUpdateInProgress:                        types.StackStatusUpdateRollbackFailed,
	types.StackStatusUpdateRollbackInProgress:                types.StackStatusUpdateRollbackFailed,
	types.StackStatusUpdateRollbackCompleteCleanupInProgress: types.StackStatusUpdateRollbackFailed,
	types.StackStatusUpdateCompleteCleanupInProgress:         types.StackStatusUpdateComplete,
}
