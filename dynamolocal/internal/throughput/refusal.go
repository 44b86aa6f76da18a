package throughput

// reason is which capacity a request lacked.
type reason uint8

const (
	admitted reason = iota
	provisionedUnits
	account
	keyRange
	maximum
	reasonCount
)

var reasonNames = [reasonCount]string{
	provisionedUnits: "ProvisionedThroughputExceeded",
	account:          "AccountLimitExceeded",
	keyRange:         "KeyRangeThroughputExceeded",
	maximum:          "MaxOnDemandThroughputExceeded",
}

// Refusal is the error of a throttled request, in the service's words.
type Refusal struct {
	// Code is the exception: ProvisionedThroughputExceededException,
	// ThrottlingException or RequestLimitExceeded.
	Code    string
	Message string
	// Reason and Resource are the one entry of ThrottlingReasons: for example
	// TableWriteKeyRangeThroughputExceeded and the table's or index's ARN.
	Reason   string
	Resource string
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// CancellationCode is the code of the refusal among a transaction's
// cancellation reasons.
func (r *Refusal) CancellationCode() string {
	if r.Code == "ProvisionedThroughputExceededException" {
		return "ProvisionedThroughputExceeded"
	}
	return "ThrottlingError"
}

const (
	provisionedTable = "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API."
	provisionedIndex = "The level of configured provisioned throughput for one or more global secondary indexes of the table was exceeded. Consider increasing your provisioning level for the under-provisioned global secondary indexes with the UpdateTable API."
	onDemandTable    = "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your table or index so please try again shortly. If exceptions persist, check if you have a hot key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"
	onDemandIndex    = "Throughput exceeds the current capacity for one or more global secondary indexes. DynamoDB is automatically scaling your index so please try again shortly."
	accountLimit     = "Throughput exceeds the current throughput limit for your account. Please contact AWS Support at https://aws.amazon.com/support request a limit increase."
)

// reasonName is the name of a reason as ThrottlingReasons spells it.
func (s *scope) reasonName(kind Kind, why reason) string {
	name := "Table"
	if s.index != "" {
		name = "Index"
	}
	if kind == Read {
		return name + "Read" + reasonNames[why]
	}
	return name + "Write" + reasonNames[why]
}

func (s *scope) refuse(kind Kind, why reason) *Refusal {
	r := &Refusal{Reason: s.reasonName(kind, why), Resource: s.arn}
	switch {
	case why == account:
		r.Code, r.Message = "RequestLimitExceeded", accountLimit
	case s.provisioned:
		r.Code, r.Message = "ProvisionedThroughputExceededException", provisionedTable
		if s.index != "" {
			r.Message = provisionedIndex
		}
	default:
		r.Code, r.Message = "ThrottlingException", onDemandTable
		if s.index != "" {
			r.Message = onDemandIndex
		}
	}
	return r
}
