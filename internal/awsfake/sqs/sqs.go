// Package sqs plays queues of SQS, as far as what functions could not process goes into one and is looked at:
// standard queues that are made by stacks, sent to and received from. Clients speak the JSON protocol.
package sqs

import (
	"cmp"
	"crypto/md5" //nolint:gosec // the protocol's sum of a body
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Config says whose queues they are.
type Config struct {
	Account, Region string
	// Host is the host and port of queues' URLs.
	Host string
	// Now is the clock; nil = the machine's.
	Now func() time.Time
}

// Service holds queues. It is safe for concurrent use.
type Service struct {
	config Config

	mu     sync.Mutex
	queues map[string]*queue // by name
}

// queue is what is kept of one between runs.
type queue struct {
	Name       string
	Created    time.Time
	Attributes map[string]string
	Tags       map[string]string
	Messages   []*message // the oldest first
}

type message struct {
	ID, Body  string
	Sent      time.Time
	FirstSeen time.Time // zero before it was received
	Received  int
	Hidden    time.Time // until when nobody else gets it
	Receipt   string    // of the last receipt
}

// Attributes of queues with their standard values, in seconds.
const (
	visibilityTimeout = "VisibilityTimeout"
	messageRetention  = "MessageRetentionPeriod"
	defaultVisibility = 30
	defaultRetention  = 4 * 24 * 60 * 60
	mostReceived      = 10
)

// New returns a service without queues.
func New(config Config) *Service {
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Service{config: config, queues: map[string]*queue{}}
}

// API is how the front reaches the service.
func (s *Service) API() protocol.Service {
	return protocol.Service{Name: "sqs", Wire: protocol.REST, Handle: s.handle}
}

// ARN is that of a queue.
func (s *Service) ARN(name string) string {
	return "arn:aws:sqs:" + s.config.Region + ":" + s.config.Account + ":" + name
}

func (s *Service) url(name string) string {
	return "http://" + s.config.Host + "/" + s.config.Account + "/" + name
}

// Send puts a message into the queue with an ARN.
func (s *Service) Send(arn, body string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[arn[strings.LastIndexByte(arn, ':')+1:]]
	if q == nil || s.ARN(q.Name) != arn {
		return absent()
	}
	s.send(q, body)
	return nil
}

func (s *Service) send(q *queue, body string) *message {
	m := &message{ID: rand.Text(), Body: body, Sent: s.config.Now()}
	q.Messages = append(q.Messages, m)
	return m
}

// Tagged returns the tags of queues by ARN.
func (s *Service) Tagged() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tagged := map[string]map[string]string{}
	for _, q := range s.queues {
		if len(q.Tags) > 0 {
			tagged[s.ARN(q.Name)] = maps.Clone(q.Tags)
		}
	}
	return tagged
}

// MarshalJSON writes all queues with their messages.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.queues)
}

// UnmarshalJSON replaces the queues by those that MarshalJSON wrote.
func (s *Service) UnmarshalJSON(state []byte) error {
	queues := map[string]*queue{}
	if err := json.Unmarshal(state, &queues); err != nil {
		return fmt.Errorf("state of the queues: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = queues
	return nil
}

// request has the members of all operations.
type request struct {
	QueueName, QueueNamePrefix, QueueURL string
	Attributes                           map[string]string
	AttributeNames                       []string
	Tags                                 map[string]string `json:"tags"`
	MessageBody, ReceiptHandle           string
	MaxNumberOfMessages                  int
	VisibilityTimeout                    *int
}

// operation serves one action; q is nil for those that are about no queue.
type operation struct {
	about bool // a queue that is there
	serve func(s *Service, call *protocol.Call, q *queue, r *request) (any, error)
}

var operations = map[string]operation{
	"CreateQueue":        {false, (*Service).createQueue},
	"GetQueueUrl":        {true, (*Service).getQueueURL},
	"ListQueues":         {false, (*Service).listQueues},
	"GetQueueAttributes": {true, (*Service).getQueueAttributes},
	"SendMessage":        {true, (*Service).sendMessage},
	"ReceiveMessage":     {true, (*Service).receiveMessage},
	"DeleteMessage":      {true, (*Service).deleteMessage},
	"PurgeQueue":         {true, (*Service).purgeQueue},
	"DeleteQueue":        {true, (*Service).deleteQueue},
}

func (s *Service) handle(w http.ResponseWriter, r *http.Request, call *protocol.Call) {
	answer, err := s.serve(r.Body, call)
	if err != nil {
		protocol.WriteRESTError(w, err)
		return
	}
	data, err := json.Marshal(answer)
	if err != nil {
		protocol.WriteRESTError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = w.Write(data) // a client that left needs no answer
}

func (s *Service) serve(body io.Reader, call *protocol.Call) (any, error) {
	o, ok := operations[call.Action]
	if !ok {
		return nil, protocol.Errorf("UnknownOperationException", "the action %q of sqs is not played here", call.Action)
	}
	var r request
	if err := json.NewDecoder(body).Decode(&r); err != nil {
		return nil, protocol.Errorf("SerializationException", "%v", err)
	}
	name := cmp.Or(r.QueueName, path.Base(r.QueueURL))
	if err := call.Allow("sqs:"+call.Action, s.ARN(name)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if o.about && q == nil {
		return nil, absent()
	}
	if q != nil {
		s.expire(q)
	}
	return o.serve(s, call, q, &r)
}

func absent() error {
	return protocol.Errorf("QueueDoesNotExist", "The specified queue does not exist.")
}

// expire drops messages that are too old.
func (s *Service) expire(q *queue) {
	oldest := s.config.Now().Add(-q.seconds(messageRetention, defaultRetention))
	q.Messages = slices.DeleteFunc(q.Messages, func(m *message) bool { return m.Sent.Before(oldest) })
}

func (q *queue) seconds(attribute string, standard int) time.Duration {
	n, err := strconv.Atoi(q.Attributes[attribute])
	if err != nil {
		n = standard
	}
	return time.Duration(n) * time.Second
}

func (s *Service) create(name string, attributes, tags map[string]string) (*queue, error) {
	if name == "" || len(name) > 80 {
		return nil, protocol.Errorf("InvalidParameterValue", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	if q := s.queues[name]; q != nil {
		return nil, protocol.Errorf("QueueAlreadyExists", "A queue already exists with the same name and a different value for attribute")
	}
	q := &queue{Name: name, Created: s.config.Now(), Attributes: maps.Clone(attributes), Tags: maps.Clone(tags)}
	s.queues[name] = q
	return q, nil
}

func (s *Service) createQueue(_ *protocol.Call, q *queue, r *request) (any, error) {
	if q == nil || !maps.Equal(q.Attributes, r.Attributes) {
		if _, err := s.create(r.QueueName, r.Attributes, r.Tags); err != nil {
			return nil, err
		}
	}
	return map[string]string{"QueueUrl": s.url(r.QueueName)}, nil
}

func (s *Service) getQueueURL(_ *protocol.Call, q *queue, _ *request) (any, error) {
	return map[string]string{"QueueUrl": s.url(q.Name)}, nil
}

func (s *Service) listQueues(_ *protocol.Call, _ *queue, r *request) (any, error) {
	urls := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if strings.HasPrefix(name, r.QueueNamePrefix) {
			urls = append(urls, s.url(name))
		}
	}
	return map[string][]string{"QueueUrls": urls}, nil
}

func (s *Service) getQueueAttributes(_ *protocol.Call, q *queue, r *request) (any, error) {
	now := s.config.Now()
	visible := 0
	for _, m := range q.Messages {
		if !m.Hidden.After(now) {
			visible++
		}
	}
	all := map[string]string{
		"QueueArn": s.ARN(q.Name), "CreatedTimestamp": strconv.FormatInt(q.Created.Unix(), 10),
		visibilityTimeout: strconv.Itoa(defaultVisibility), messageRetention: strconv.Itoa(defaultRetention),
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(len(q.Messages) - visible),
		"ApproximateNumberOfMessagesDelayed":    "0",
	}
	maps.Copy(all, q.Attributes)
	if !slices.Contains(r.AttributeNames, "All") {
		maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(r.AttributeNames, name) })
	}
	return map[string]any{"Attributes": all}, nil
}

func (s *Service) sendMessage(_ *protocol.Call, q *queue, r *request) (any, error) {
	m := s.send(q, r.MessageBody)
	return map[string]string{"MessageId": m.ID, "MD5OfMessageBody": sum(m.Body)}, nil
}

func sum(body string) string {
	digest := md5.Sum([]byte(body)) //nolint:gosec // as above
	return hex.EncodeToString(digest[:])
}

// received is a message as it is handed out.
type received struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	MD5OfBody     string
	Body          string
	Attributes    map[string]string
}

// receiveMessage does not wait for messages.
func (s *Service) receiveMessage(_ *protocol.Call, q *queue, r *request) (any, error) {
	now := s.config.Now()
	hide := q.seconds(visibilityTimeout, defaultVisibility)
	if r.VisibilityTimeout != nil {
		hide = time.Duration(*r.VisibilityTimeout) * time.Second
	}
	most := max(1, min(r.MaxNumberOfMessages, mostReceived))
	list := []received{}
	for _, m := range q.Messages {
		if len(list) == most {
			break
		}
		if m.Hidden.After(now) {
			continue
		}
		if m.FirstSeen.IsZero() {
			m.FirstSeen = now
		}
		m.Received++
		m.Hidden, m.Receipt = now.Add(hide), rand.Text()
		list = append(list, received{m.ID, m.Receipt, sum(m.Body), m.Body, map[string]string{
			"SentTimestamp": milliseconds(m.Sent), "ApproximateReceiveCount": strconv.Itoa(m.Received),
			"ApproximateFirstReceiveTimestamp": milliseconds(m.FirstSeen),
		}})
	}
	return map[string]any{"Messages": list}, nil
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func (s *Service) deleteMessage(_ *protocol.Call, q *queue, r *request) (any, error) {
	q.Messages = slices.DeleteFunc(q.Messages, func(m *message) bool { return m.Receipt != "" && m.Receipt == r.ReceiptHandle })
	return struct{}{}, nil
}

func (s *Service) purgeQueue(_ *protocol.Call, q *queue, _ *request) (any, error) {
	q.Messages = nil
	return struct{}{}, nil
}

func (s *Service) deleteQueue(_ *protocol.Call, q *queue, _ *request) (any, error) {
	delete(s.queues, q.Name)
	return struct{}{}, nil
}
