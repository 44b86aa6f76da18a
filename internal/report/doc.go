// Package report turns a finished or running load test into the result document and its views.
//
// Result is the document. Build fills it from a snapshot of the statistics and from what the caller
// knows about the run and the target. WriteText, WriteJSON, WriteHTML and the CSV files are views of
// it; thresholds, the verdict, the exit code and Compare are judgements on it. A value that is not
// known is nil in Go and null in JSON, never 0.
package report
