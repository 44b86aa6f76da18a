// Package cost says what a load test on AWS costs, from prices that are data with a date.
//
// Amounts are US dollars. Free tiers are left out: an estimate is rather too high.
package cost

import "time"

// Prices are unit prices in one region at one date.
type Prices struct {
	Date, Region string

	// DynamoDB on demand, for each million units.
	PerMillionReadUnits, PerMillionWriteUnits float64
	// Fargate by architecture, for each hour; Spot is the share of it that Spot capacity costs about.
	FargateX86, FargateARM TaskHour
	Spot                   float64
	// Lambda by architecture, for each GB-second, and for each invocation.
	LambdaX86, LambdaARM, LambdaRequest float64
}

// TaskHour is what a task costs in an hour, by what it has.
type TaskHour struct{ VCPU, GB float64 }

// Published are the prices of us-east-1 as published (aws.md 7). Check them before relying on them.
func Published() Prices {
	return Prices{
		Date: "2026-01-01", Region: "us-east-1",
		PerMillionReadUnits: 0.125, PerMillionWriteUnits: 0.625,
		FargateX86: TaskHour{VCPU: 0.04048, GB: 0.004445}, FargateARM: TaskHour{VCPU: 0.03238, GB: 0.00356}, Spot: 0.35,
		LambdaX86: 0.0000166667, LambdaARM: 0.0000133334, LambdaRequest: 0.20e-6,
	}
}

// Task is a Fargate task.
type Task struct {
	VCPU, GB  float64
	ARM, Spot bool
}

// Function is a Lambda function.
type Function struct {
	MemoryMB int
	ARM      bool
}

// TaskHour is what a task costs in an hour.
func (p Prices) TaskHour(t Task) float64 {
	hour := p.FargateX86
	if t.ARM {
		hour = p.FargateARM
	}
	usd := t.VCPU*hour.VCPU + t.GB*hour.GB
	if t.Spot {
		usd *= p.Spot
	}
	return usd
}

// WorkerHour is what one execution of a function that goes on for an hour costs.
func (p Prices) WorkerHour(f Function) float64 {
	perSecond := p.LambdaX86
	if f.ARM {
		perSecond = p.LambdaARM
	}
	return float64(f.MemoryMB) / 1024 * perSecond * time.Hour.Seconds()
}

// Units is what the table is charged with.
type Units struct{ Read, Write float64 }

// Table is what units cost.
func (p Prices) Table(u Units) float64 {
	return (u.Read*p.PerMillionReadUnits + u.Write*p.PerMillionWriteUnits) / 1e6
}

// perAcquire are the units of a warm acquire with a cascade: two conditional updates of the table, each
// with one of an index (aws.md 7). One without takes half of it.
var perAcquire = Units{Write: 4}

// What users without wait time reach at the most, for an estimate: each of them by the response time
// of the table, all of them by the processors that they share.
const (
	mostPerUser = 250    // acquires a second: 4 ms each
	mostPerVCPU = 10_000 // acquires a second: 100 µs each
)

// Plan is a run to be estimated. Task is nil without one; Workers is 0 without functions.
type Plan struct {
	Duration time.Duration
	Users    int
	Task     *Task
	Workers  int
	Function Function
	// VCPUs are those that the users share.
	VCPUs float64
}

// Estimate is what a run costs at the most, part by part.
type Estimate struct {
	Task, Functions, Table float64
	// Acquires is the number that Table is for: users without wait time, at full speed.
	Acquires float64
}

// Total is the sum of the parts.
func (e Estimate) Total() float64 { return e.Compute() + e.Table }

// Compute is what it costs to have the machines: that much for certain.
func (e Estimate) Compute() float64 { return e.Task + e.Functions }

// Estimate says what a run costs at the most.
func (p Prices) Estimate(plan Plan) Estimate {
	rate := min(float64(plan.Users)*mostPerUser, plan.VCPUs*mostPerVCPU)
	e := Estimate{Acquires: rate * plan.Duration.Seconds()}
	e.Table = p.Table(Units{Read: e.Acquires * perAcquire.Read, Write: e.Acquires * perAcquire.Write})
	if plan.Task != nil {
		e.Task = plan.Duration.Hours() * p.TaskHour(*plan.Task)
	}
	if plan.Workers > 0 {
		e.Functions = float64(plan.Workers) * (plan.Duration.Hours()*p.WorkerHour(plan.Function) + p.LambdaRequest)
	}
	return e
}
