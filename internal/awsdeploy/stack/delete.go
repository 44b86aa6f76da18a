package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Deletion says which stack to delete.
type Deletion struct {
	Name string
	// Retain are logical ids of resources that are left behind; only for a stack in DELETE_FAILED.
	Retain []string
	Role   string
	// NoWait returns when CloudFormation has accepted the deletion.
	NoWait bool
	Event  func(Event) // may be nil
}

// Delete deletes a stack and waits for it. A stack that does not exist is no error. When resources
// could not be deleted the *FailedError names them in Stuck; a second Delete may retain them.
func (c *Client) Delete(ctx context.Context, d *Deletion) error {
	s, err := c.Describe(ctx, d.Name)
	if errors.Is(err, ErrNotFound) || err == nil && s.Status == string(types.StackStatusDeleteComplete) {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := c.watch(ctx, s.ID, d.Event)
	if err != nil {
		return err
	}
	in := &cfn.DeleteStackInput{StackName: aws.String(s.ID), RetainResources: d.Retain, ClientRequestToken: aws.String("zae-limiter-" + randomHex(6))}
	if d.Role != "" {
		in.RoleARN = aws.String(d.Role)
	}
	if _, err := c.API.DeleteStack(ctx, in); err != nil {
		return fmt.Errorf("delete stack %s: %w", s.Name, err)
	}
	if d.NoWait {
		return nil
	}
	after, err := w.settle(ctx)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if after.Status == string(types.StackStatusDeleteComplete) {
		return nil
	}
	failure := w.failure(after)
	for _, e := range w.failed {
		if e.PhysicalID != s.ID && strings.HasPrefix(e.Status, "DELETE_") {
			failure.Stuck = append(failure.Stuck, e)
		}
	}
	return failure
}
