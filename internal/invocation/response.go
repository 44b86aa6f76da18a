package invocation

import "encoding/json"

// What a worker answers, besides the states in which it ends without having run anything.
const (
	StatusCompleted         = "worker_completed"
	StatusPurged            = "purged"
	StatusRefused           = "refused"            // the event came too late or was another build's
	StatusMasterUnreachable = "master_unreachable" // no master answered
	StatusMasterLost        = "master_lost"        // it had answered and did so no more
)

// WorkerResponse is what a function answers that joined a master, or that refused an event.
type WorkerResponse struct {
	Status   string `json:"status"`
	WorkerID string `json:"worker_id,omitempty"`
	Reason   string `json:"reason,omitempty"` // why it refused
}

// HeadlessResponse is what a function answers that ran users by itself: the totals under the keys of
// zae-limiter 0.17.0, and the whole result document (result.md) as an addition. Times are milliseconds,
// nil when nothing was recorded.
type HeadlessResponse struct {
	TotalRequests     int64    `json:"total_requests"`
	TotalFailures     int64    `json:"total_failures"`
	AvgResponseTime   *float64 `json:"avg_response_time"`
	MinResponseTime   *float64 `json:"min_response_time"`
	MaxResponseTime   *float64 `json:"max_response_time"`
	P50               *float64 `json:"p50"`
	P95               *float64 `json:"p95"`
	P99               *float64 `json:"p99"`
	RequestsPerSecond float64  `json:"requests_per_second"`
	FailureRate       float64  `json:"failure_rate"` // 0 to 1

	Result json.RawMessage `json:"result,omitempty"`
	// Error is what went wrong beside a result: a listener that failed, data that could not be removed.
	Error string `json:"error,omitempty"`
}
