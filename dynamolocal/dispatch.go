package dynamolocal

import (
	"context"
	"errors"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/faults"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// transportFault is a fault that shows below the level of the service's errors.
type transportFault struct{ fault *faults.Fault }

func (e *transportFault) Error() string { return "injected fault: " + string(e.fault.Action) }

// call performs one data request: outage, faults, the operation, and the time that it takes, of which
// trip is spent on the way to and from the engine.
func (e *Engine) call(ctx context.Context, op string, r *wire.Request, body []byte, trip time.Duration) (*result, error) {
	if err := e.faults.Wait(ctx); err != nil {
		return nil, err
	}
	var fault *faults.Fault
	if e.faulty() {
		fault = e.faults.Match(faults.Call{Operation: op, Elapsed: time.Since(e.started), Targets: e.targets(r)})
	}
	if fault != nil && !fault.After {
		if refuses(fault) && fault.Latency > 0 {
			if err := e.timer.Wait(ctx, fault.Latency); err != nil {
				return nil, err
			}
		}
		if done, err := e.suffer(ctx, fault); done {
			e.counters.request(op, err)
			return nil, err
		}
	}
	if !e.latency.Random(op) {
		trip = 0 // a constant delay is one that a client may rely on
	}
	begin := e.beginning(trip)
	res, err := e.run(ctx, op, r, body, fault)
	e.counters.request(op, err)
	if op != "TransactWriteItems" || err != nil {
		work, extra := 1, time.Duration(0)
		if res != nil {
			work = max(res.work, 1)
		}
		if fault != nil {
			extra = fault.Latency
		}
		if waitErr := e.spend(ctx, op, work, extra, begin); waitErr != nil {
			return nil, waitErr
		}
	} else if fault != nil && fault.Latency > 0 {
		if waitErr := e.timer.Wait(ctx, fault.Latency); waitErr != nil {
			return nil, waitErr
		}
	}
	if fault != nil && (err == nil || refuses(fault)) {
		if done, faultErr := e.sufferAfter(ctx, fault); done {
			return res, faultErr
		}
	}
	if err != nil {
		return nil, e.worded(op, asAPIError(err))
	}
	return res, nil
}

// run performs the operation itself.
func (e *Engine) run(ctx context.Context, op string, r *wire.Request, body []byte, fault *faults.Fault) (*result, error) {
	var left func(int) int
	conflict := -1
	if fault != nil {
		switch fault.Action {
		case faults.Unprocessed:
			left = fault.Left
		case faults.Conflict:
			conflict = fault.Target
		}
	}
	switch op {
	case "GetItem":
		return e.getItem(r)
	case "BatchGetItem":
		return e.batchGetItem(r, left)
	case "BatchWriteItem":
		return e.batchWriteItem(r, left)
	case "Query":
		return e.query(r)
	case "Scan":
		return e.scan(r)
	case "TransactWriteItems":
		return e.transactWriteItems(ctx, r, body, conflict)
	case "TransactGetItems":
		return e.transactGetItems(r, conflict)
	}
	if conflict >= 0 {
		return nil, &apiError{code: codeConflict, message: messageConflict}
	}
	switch op {
	case "PutItem":
		return e.putItem(r)
	case "UpdateItem":
		return e.updateItem(r)
	case "DeleteItem":
		return e.deleteItem(r)
	}
	return nil, &apiError{code: codeUnknown}
}

// isDataOperation reports whether an operation goes through call.
func isDataOperation(op string) bool {
	switch op {
	case "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan",
		"BatchGetItem", "BatchWriteItem", "TransactWriteItems", "TransactGetItems":
		return true
	}
	return false
}

// refuses reports whether a fault ends a request before it is applied.
func refuses(fault *faults.Fault) bool {
	switch fault.Action {
	case faults.Error, faults.Hang, faults.Drop, faults.HTTP:
		return true
	}
	return false
}

// suffer makes a fault happen before the request; done is set when the request goes no further.
func (e *Engine) suffer(ctx context.Context, fault *faults.Fault) (done bool, err error) {
	switch fault.Action {
	case faults.Error:
		return true, faultError(fault)
	case faults.Hang:
		<-ctx.Done()
		return true, context.Cause(ctx)
	case faults.Drop, faults.HTTP:
		return true, &transportFault{fault}
	}
	return false, nil
}

// sufferAfter makes a fault happen to the reply.
func (e *Engine) sufferAfter(ctx context.Context, fault *faults.Fault) (done bool, err error) {
	switch fault.Action {
	case faults.Truncate, faults.WrongCRC:
		return true, &transportFault{fault}
	case faults.Error, faults.Hang, faults.Drop, faults.HTTP:
		return e.suffer(ctx, fault)
	}
	return false, nil
}

// faultError is the error of the service that a rule asks for.
func faultError(fault *faults.Fault) error {
	message := fault.Message
	if message == "" {
		message = usualMessages[fault.Code]
	}
	return &apiError{code: fault.Code, message: message}
}

var usualMessages = map[string]string{
	codeCondition:                            messageCondition,
	codeConflict:                             messageConflict,
	codeNotFound:                             messageNotFound,
	codeCanceled:                             messageCanceled + "[None]",
	codeInternal:                             "Internal server error",
	codeThrottling:                           "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your table or index so please try again shortly. If exceptions persist, check if you have a hot key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html",
	"ProvisionedThroughputExceededException": "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.",
	"RequestLimitExceeded":                   "Throughput exceeds the current throughput limit for your account. Please contact AWS Support at https://aws.amazon.com/support request a limit increase.",
}

// targets are the items and indexes that a request names, as fault rules see them.
func (e *Engine) targets(r *wire.Request) []faults.Target {
	var list []faults.Target
	add := func(table wire.Text, index wire.Text, attrs []attr.Attr) {
		target := faults.Target{Table: table.S, Index: index.S}
		e.mu.RLock()
		t := e.tables[table.S]
		e.mu.RUnlock()
		if t != nil {
			for _, a := range attrs {
				switch {
				case !a.Value.Exists():
				case a.Name == t.hash.name && a.Value.Kind() == t.hash.kind:
					target.Hash = a.Value.Key()
				case a.Name == t.rng.name && a.Value.Kind() == t.rng.kind:
					target.Range = a.Value.Key()
				}
			}
		}
		list = append(list, target)
	}
	keyed := func(r *wire.Request) []attr.Attr {
		if r.Key != nil {
			return r.Key
		}
		return r.Item
	}
	if r.Table.Set {
		add(r.Table, r.Index, keyed(r))
	}
	for i := range r.Tables {
		table := wire.Text{S: r.Tables[i].Table, Set: true}
		for _, key := range r.Tables[i].Keys {
			add(table, wire.Text{}, key.Key)
		}
		for j := range r.Tables[i].Writes {
			add(table, wire.Text{}, keyed(&r.Tables[i].Writes[j].Request))
		}
	}
	for i := range r.Actions {
		add(r.Actions[i].Table, wire.Text{}, keyed(&r.Actions[i].Request))
	}
	return list
}

// isContextError reports whether a request ended because its caller went away.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
