package awsfake

import (
	"context"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/metrics"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/ssm"
)

// taskRoles are the roles of tasks, which ECS must be trusted to assume.
type taskRoles struct {
	iam             *iam.IAM
	account, region string
	// url is where containers fetch their keys.
	url string
}

func (r taskRoles) trusted(role string) error {
	return r.iam.Trusts(role, "ecs-tasks.amazonaws.com", map[string]string{
		"aws:SourceAccount": r.account, "aws:SourceArn": "arn:aws:ecs:" + r.region + ":" + r.account + ":task",
	})
}

// Guard implements ecs.Roles.
func (r taskRoles) Guard(role string) (protocol.Guard, error) {
	if err := r.trusted(role); err != nil {
		return nil, err
	}
	return r.iam.Guard(role, "ecs")
}

// Credentials implements ecs.Roles.
func (r taskRoles) Credentials(role, session string) (url, token string, end func(), err error) {
	if err := r.trusted(role); err != nil {
		return "", "", nil, err
	}
	token, err = r.iam.Hold(role, session)
	if err != nil {
		return "", "", nil, err
	}
	return r.url, token, func() { r.iam.Drop(token) }, nil
}

// functionRoles are the roles of functions, which Lambda must be trusted to assume.
type functionRoles struct {
	iam             *iam.IAM
	account, region string
}

// Session implements lambda.Sessions: the function's own calls carry its ARN (aws.md 6.2).
func (r functionRoles) Session(_ context.Context, role, name string) (lambda.Credentials, error) {
	function := "arn:aws:lambda:" + r.region + ":" + r.account + ":function:" + name
	err := r.iam.Trusts(role, "lambda.amazonaws.com", map[string]string{"aws:SourceAccount": r.account, "aws:SourceArn": function})
	if err != nil {
		return lambda.Credentials{}, err
	}
	key, secret, token, _, err := r.iam.Session(role, name, map[string]string{"lambda:SourceFunctionArn": function})
	return lambda.Credentials{AccessKeyID: key, SecretAccessKey: secret, SessionToken: token}, err
}

// Guard implements lambda.Sessions.
func (r functionRoles) Guard(role string) protocol.Guard {
	guard, err := r.iam.Guard(role, "lambda")
	if err != nil {
		return refusal{err}
	}
	return guard
}

// refusal is the guard of a role that is not there.
type refusal struct{ err error }

// Allow implements protocol.Guard.
func (r refusal) Allow(string, string, map[string]string) error { return r.err }

// functionMetrics records what Lambda tells, at the time when it tells it.
type functionMetrics struct{ metrics *metrics.Service }

// Record implements lambda.Recorder.
func (m functionMetrics) Record(namespace, name string, dimensions map[string]string, _ time.Time, value float64, unit string) {
	m.metrics.Record(namespace, name, unit, dimensions, value)
}

// targets are the containers that sessions go to.
type targets struct{ tasks *ecs.Service }

// Target implements ssm.Targets.
func (t targets) Target(cluster, task, runtimeID string) (ssm.Target, bool) {
	arn, address, connected, found := t.tasks.Target(cluster, task, runtimeID)
	return ssm.Target{TaskARN: arn, Address: address, Connected: connected}, found
}
