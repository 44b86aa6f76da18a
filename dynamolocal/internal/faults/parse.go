package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// document is one rule of a file.
type document struct {
	Name          string   `json:"name"`
	Operations    []string `json:"operations"`
	Table         string   `json:"table"`
	Index         string   `json:"index"`
	KeyPrefix     string   `json:"key_prefix"`
	SortKeyPrefix string   `json:"sort_key_prefix"`
	After         duration `json:"after"`
	Until         duration `json:"until"`
	Every         *int     `json:"every"`
	Probability   *float64 `json:"probability"`
	Count         *int     `json:"count"`
	Action        Action   `json:"action"`
	When          string   `json:"when"`
	Code          string   `json:"code"`
	Message       string   `json:"message"`
	Status        int      `json:"status"`
	Latency       duration `json:"latency"`
	Fraction      *float64 `json:"fraction"`
}

// duration is written as a string such as "1.5s".
type duration time.Duration

func (d *duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("duration %s is not a string like \"1.5s\"", data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if parsed < 0 {
		return fmt.Errorf("duration %q is negative", text)
	}
	*d = duration(parsed)
	return nil
}

// ReadFile reads the rules of a JSON file.
func ReadFile(path string) ([]Rule, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("fault rules: %w", err)
	}
	rules, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("fault rules %s: %w", path, err)
	}
	return rules, nil
}

// Parse reads rules in the file format of the package comment. The error
// names the rule by its place, from 0, and the member at fault.
func Parse(data []byte) ([]Rule, error) {
	var file struct {
		Rules []json.RawMessage `json:"rules"`
	}
	if err := decode(data, &file); err != nil {
		return nil, err
	}
	if file.Rules == nil {
		return nil, errors.New(`no member "rules"`)
	}
	rules := make([]Rule, len(file.Rules))
	for i, raw := range file.Rules {
		var d document
		err := decode(raw, &d)
		if err == nil {
			rules[i], err = d.rule()
		}
		if err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return rules, nil
}

// decode reads one JSON value and refuses members it does not know.
func decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		message := err.Error()
		if name, ok := strings.CutPrefix(message, "json: unknown field "); ok {
			return fmt.Errorf("unknown member %s", name)
		}
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

func (d document) rule() (Rule, error) {
	r := Rule{
		Name: d.Name, Operations: d.Operations, Table: d.Table, Index: d.Index,
		KeyPrefix: d.KeyPrefix, SortKeyPrefix: d.SortKeyPrefix,
		After: time.Duration(d.After), Until: time.Duration(d.Until),
		Action: d.Action, AfterApply: d.When == "after", Code: d.Code, Message: d.Message,
		Status: d.Status, Latency: time.Duration(d.Latency),
	}
	switch {
	case d.When != "" && d.When != "before" && d.When != "after":
		return r, fmt.Errorf("when: %q is neither before nor after", d.When)
	case d.Every != nil && *d.Every < 1:
		return r, fmt.Errorf("every: %d is less than 1", *d.Every)
	case d.Count != nil && *d.Count < 1:
		return r, fmt.Errorf("count: %d is less than 1", *d.Count)
	case d.Probability != nil && (*d.Probability <= 0 || *d.Probability > 1):
		return r, fmt.Errorf("probability: %v is not in (0, 1]", *d.Probability)
	case d.Fraction != nil && (*d.Fraction <= 0 || *d.Fraction > 1):
		return r, fmt.Errorf("fraction: %v is not in (0, 1]", *d.Fraction)
	}
	if d.Every != nil {
		r.Every = *d.Every
	}
	if d.Count != nil {
		r.Count = *d.Count
	}
	if d.Probability != nil {
		r.Probability = *d.Probability
	}
	if d.Fraction != nil {
		r.Fraction = *d.Fraction
	}
	return r, r.check()
}

// check reports what makes no sense in a rule.
func (r Rule) check() error {
	for _, name := range r.Operations {
		if !slices.Contains(operations, name) {
			return fmt.Errorf("operations: unknown operation %q", name)
		}
	}
	switch {
	case r.Until > 0 && r.Until <= r.After:
		return fmt.Errorf("until: %v is not later than after, %v", r.Until, r.After)
	case r.Every < 0 || r.Count < 0 || r.After < 0 || r.Until < 0 || r.Latency < 0:
		return errors.New("a number is negative")
	case !(r.Probability >= 0 && r.Probability <= 1):
		return fmt.Errorf("probability: %v is not in (0, 1]", r.Probability)
	case !(r.Fraction >= 0 && r.Fraction <= 1):
		return fmt.Errorf("fraction: %v is not in (0, 1]", r.Fraction)
	case r.Fraction > 0 && r.Action != Unprocessed:
		return fmt.Errorf("fraction: does not go with action %q", r.Action)
	case r.Status != 0 && r.Action != HTTP:
		return fmt.Errorf("status: does not go with action %q", r.Action)
	case (r.Code != "" || r.Message != "") && r.Action != Error:
		return fmt.Errorf("code and message: do not go with action %q", r.Action)
	}
	return r.checkAction()
}

func (r Rule) checkAction() error {
	switch r.Action {
	case "":
		return errors.New("action: is missing")
	case Error:
		if !slices.Contains(codes, r.Code) {
			return fmt.Errorf("code: %q is not an error code of the service; one of %s", r.Code, strings.Join(codes, ", "))
		}
	case HTTP:
		if r.Status != http.StatusInternalServerError && r.Status != http.StatusServiceUnavailable {
			return fmt.Errorf("status: %d is neither 500 nor 503", r.Status)
		}
	case Latency:
		if r.Latency == 0 {
			return errors.New("latency: is missing")
		}
	case Hang, Drop, Truncate, WrongCRC, Unprocessed, Conflict:
	default:
		return fmt.Errorf("action: %q is unknown", r.Action)
	}
	if r.AfterApply && !slices.Contains([]Action{Error, Hang, Drop, HTTP}, r.Action) {
		return fmt.Errorf("when: does not go with action %q", r.Action)
	}
	return nil
}

// codes are the errors that a rule may return.
var codes = []string{
	"AccessDeniedException", "ConditionalCheckFailedException", "IdempotentParameterMismatchException",
	"InternalServerError", "ItemCollectionSizeLimitExceededException", "LimitExceededException",
	"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ResourceInUseException",
	"ResourceNotFoundException", "SerializationException", "ThrottlingException",
	"TransactionCanceledException", "TransactionConflictException", "TransactionInProgressException",
	"UnknownOperationException", "ValidationException",
}

// operations are those that a rule may name.
var operations = []string{
	"BatchGetItem", "BatchWriteItem", "CreateTable", "DeleteItem", "DeleteTable", "DescribeTable",
	"DescribeTimeToLive", "GetItem", "ListTables", "ListTagsOfResource", "PutItem", "Query", "Scan",
	"TagResource", "TransactGetItems", "TransactWriteItems", "UntagResource", "UpdateItem",
	"UpdateTable", "UpdateTimeToLive",
}
