package lambda

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

func (s *Service) addPermission(_ context.Context, call *protocol.Call, in *lambda.AddPermissionInput) (*lambda.AddPermissionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "AddPermission", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	statement, err := f.permit(in)
	if err != nil {
		return nil, err
	}
	return &lambda.AddPermissionOutput{Statement: &statement}, nil
}

// permit adds a statement to the policy of a function. s.mu is held.
func (f *found) permit(in *lambda.AddPermissionInput) (string, error) {
	id := aws.ToString(in.StatementId)
	if _, there := f.Policy[id]; there {
		return "", conflict("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", id)
	}
	statement, err := json.Marshal(map[string]any{
		"Sid": id, "Effect": "Allow", "Principal": map[string]string{"Service": aws.ToString(in.Principal)},
		"Action": aws.ToString(in.Action), "Resource": f.qualified(),
	})
	if err != nil {
		return "", fmt.Errorf("statement %s: %w", id, err)
	}
	f.Policy[id] = string(statement)
	return string(statement), nil
}

func (s *Service) removePermission(_ context.Context, call *protocol.Call, in *lambda.RemovePermissionInput) (*lambda.RemovePermissionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "RemovePermission", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if _, there := f.Policy[aws.ToString(in.StatementId)]; !there {
		return nil, notFound("Statement %s is not found in resource policy.", aws.ToString(in.StatementId))
	}
	delete(f.Policy, *in.StatementId)
	return &lambda.RemovePermissionOutput{}, nil
}
