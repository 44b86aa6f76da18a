package aggregator

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// HandlerName is the handler of the function that runs the aggregator: AWS Lambda gives it to the program in
// _HANDLER.
const HandlerName = "aggregator"

// event is what an event source mapping sends of a stream.
type event struct {
	Records []struct {
		EventName string `json:"eventName"`
		Dynamodb  struct {
			ApproximateCreationDateTime float64
			SequenceNumber              string
			OldImage, NewImage          eventItem
		} `json:"dynamodb"`
	}
}

// answer names the first record that has to be sent again, with all behind it. The mapping must report batch
// item failures (FunctionResponseTypes), or it takes every answer for a success.
type answer struct {
	BatchItemFailures []itemFailure `json:"batchItemFailures"`
}

type itemFailure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

// Handler serves the events of an event source mapping.
type Handler struct{ aggregator *Aggregator }

// Handler returns the handler of a function.
func (a *Aggregator) Handler() *Handler { return &Handler{a} }

// Invoke processes the records of an event. Usage that could not be written makes it ask for the records again
// from the first one that is part of it, so that usage may be counted twice then, and never not at all.
func (h *Handler) Invoke(ctx context.Context, _ string, payload []byte) ([]byte, error) {
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("the event is none of a stream: %w", err)
	}
	records := make([]Record, len(e.Records))
	for i := range e.Records {
		r := &e.Records[i]
		seconds, fraction := math.Modf(r.Dynamodb.ApproximateCreationDateTime)
		records[i] = Record{
			Event: Event(r.EventName), At: time.Unix(int64(seconds), int64(fraction*1e9)).UTC(), SequenceNumber: r.Dynamodb.SequenceNumber,
			Old: Item(r.Dynamodb.OldImage), New: Item(r.Dynamodb.NewImage),
		}
	}
	result := h.aggregator.Process(ctx, records)
	h.aggregator.log.Info("processed", "records", result.Records, "snapshots", result.Snapshots, "refills", result.Refills,
		"doublings", result.Doublings, "shards", result.Shards, "unreadable", result.Unreadable, "unwritten", len(result.Unwritten))
	out := answer{BatchItemFailures: []itemFailure{}}
	if at, ok := result.FirstUnwritten(); ok {
		out.BatchItemFailures = append(out.BatchItemFailures, itemFailure{records[at].SequenceNumber})
	}
	return json.Marshal(out)
}

// eventItem is an item in the JSON of the API.
type eventItem Item

func (i *eventItem) UnmarshalJSON(data []byte) error {
	var raw map[string]eventValue
	if err := json.Unmarshal(data, &raw); err != nil || raw == nil {
		return err
	}
	*i = make(eventItem, len(raw))
	for name, v := range raw {
		(*i)[name] = v.value
	}
	return nil
}

type eventValue struct{ value types.AttributeValue }

func (v *eventValue) UnmarshalJSON(data []byte) error {
	var m struct {
		S, N *string
		B    []byte
		BOOL *bool
		NULL *bool
		SS   []string
		NS   []string
		BS   [][]byte
		L    *[]eventValue
		M    *eventItem
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	switch {
	case m.S != nil:
		v.value = &types.AttributeValueMemberS{Value: *m.S}
	case m.N != nil:
		v.value = &types.AttributeValueMemberN{Value: *m.N}
	case m.B != nil:
		v.value = &types.AttributeValueMemberB{Value: m.B}
	case m.BOOL != nil:
		v.value = &types.AttributeValueMemberBOOL{Value: *m.BOOL}
	case m.NULL != nil:
		v.value = &types.AttributeValueMemberNULL{Value: *m.NULL}
	case m.SS != nil:
		v.value = &types.AttributeValueMemberSS{Value: m.SS}
	case m.NS != nil:
		v.value = &types.AttributeValueMemberNS{Value: m.NS}
	case m.BS != nil:
		v.value = &types.AttributeValueMemberBS{Value: m.BS}
	case m.L != nil:
		list := make([]types.AttributeValue, len(*m.L))
		for i := range *m.L {
			list[i] = (*m.L)[i].value
		}
		v.value = &types.AttributeValueMemberL{Value: list}
	case m.M != nil:
		v.value = &types.AttributeValueMemberM{Value: Item(*m.M)}
	default:
		return fmt.Errorf("attribute value %.40s has none of the known types", data)
	}
	return nil
}
