// Package ssm plays the part of AWS Systems Manager that carries tunnels: it starts sessions to
// containers, and speaks with the official Session Manager client over the data channel as the agent in
// the container does, forwarding to a port of the container (aws.md 5.1). What a message looks like is
// taken from the client, github.com/aws/session-manager-plugin, and what the agent answers from
// github.com/aws/amazon-ssm-agent.
package ssm

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/gorilla/websocket"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Target is a container that runs an agent.
type Target struct {
	// TaskARN is the task's.
	TaskARN string
	// Address is the task's IP address, at which the container's ports are.
	Address string
	// Connected says whether the agent has registered itself, which happens some seconds after the
	// container's start.
	Connected bool
}

// Targets finds containers.
type Targets interface {
	// Target returns the container of a running task with the given runtime id; false when there is none.
	Target(cluster, task, runtimeID string) (Target, bool)
}

// Limits are what an account and an agent allow. Zero fields have the defaults.
type Limits struct {
	// Sessions is how many sessions a container's agent serves at the same time; the default is 2. The
	// next ones start and wait, and so do their clients.
	Sessions int
	// Idle ends a session that carries nothing for so long; the default is 20 minutes.
	Idle time.Duration
	// Handshake ends a session whose client does not answer; the default is 15 s.
	Handshake time.Duration
	// Agent is the version of the agents; the default is one that multiplexes.
	Agent string
}

// Service is the service of one account and the gateway of its data channels. It is safe for
// concurrent use. Close ends it.
type Service struct {
	targets Targets
	limits  Limits
	running sync.WaitGroup // sessions and connections

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session
	order    []string         // ids by start
	workers  map[string]slots // by target
}

// New returns the service.
func New(targets Targets, limits Limits) *Service {
	if limits.Sessions <= 0 {
		limits.Sessions = 2
	}
	if limits.Idle <= 0 {
		limits.Idle = 20 * time.Minute
	}
	if limits.Handshake <= 0 {
		limits.Handshake = 15 * time.Second
	}
	if limits.Agent == "" {
		limits.Agent = "3.3.987.0"
	}
	return &Service{targets: targets, limits: limits, sessions: map[string]*session{}, workers: map[string]slots{}}
}

// Close ends every session and waits until nothing of them is left.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, one := range s.list() {
		one.cancel(nil)
	}
	s.running.Wait()
}

// EndTask ends the sessions to a task's containers, as the end of the agents does.
func (s *Service) EndTask(task string) {
	for _, one := range s.list() {
		if one.task == task {
			one.cancel(errTaskGone)
			<-one.done
		}
	}
}

// Services are ssm, and ssmmessages for the data channels of clients that sign their connection, as the
// official one does since 1.2.764.
func (s *Service) Services() []protocol.Service {
	return []protocol.Service{
		{Name: "ssm", Wire: protocol.JSON11, Operations: map[string]protocol.Operation{
			"StartSession":     protocol.Op(s.startSession),
			"ResumeSession":    protocol.Op(s.resumeSession),
			"TerminateSession": protocol.Op(s.terminateSession),
			"DescribeSessions": protocol.Op(s.describeSessions),
		}},
		{Name: "ssmmessages", Wire: protocol.REST, Handle: func(w http.ResponseWriter, r *http.Request, call *protocol.Call) {
			id, _ := strings.CutPrefix(r.URL.Path, dataChannelPath)
			if _, err := s.allowed(call, "ssmmessages:OpenDataChannel", id); err != nil {
				protocol.WriteRESTError(w, err)
				return
			}
			s.serveChannel(w, r, id)
		}},
	}
}

func (s *Service) startSession(ctx context.Context, call *protocol.Call, in *api.StartSessionInput) (*api.StartSessionOutput, error) {
	name := aws.ToString(in.DocumentName)
	cluster, task, runtimeID, err := parseTarget(aws.ToString(in.Target))
	if err != nil {
		return nil, err
	}
	document, known := documents[name]
	if err := call.AllowIf("ssm:StartSession", map[string]string{"ssm:SessionDocumentAccessCheck": "true"},
		call.ARN("ecs", "task/"+cluster+"/"+task), documentARN(call, name)); err != nil {
		return nil, err
	}
	if !known {
		return nil, protocol.Errorf("InvalidDocument", "Document with name %s does not exist.", name)
	}
	parameters, err := document.bind(in.Parameters)
	if err != nil {
		return nil, err
	}
	target, found := s.targets.Target(cluster, task, runtimeID)
	if !found || !target.Connected {
		return nil, protocol.Errorf("TargetNotConnected", "%s is not connected.", aws.ToString(in.Target))
	}
	token := newToken()
	id, alias := sessionID(call)
	one := &session{
		id: id, alias: alias, owner: call.Principal, document: name, target: aws.ToString(in.Target), task: task,
		parameters: parameters, address: target.Address, agent: s.limits.Agent, started: time.Now(),
		channel: newChannel(), token: token, done: make(chan struct{}),
	}
	if err := s.start(ctx, one); err != nil {
		return nil, err
	}
	return &api.StartSessionOutput{SessionId: &one.id, TokenValue: aws.String(token), StreamUrl: aws.String(streamURL(call.Host, one.id))}, nil
}

// start lets the session's agent run, beyond the call.
func (s *Service) start(ctx context.Context, one *session) error {
	ctx, one.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		one.cancel(nil)
		return &protocol.Error{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "The service has ended."}
	}
	workers, ok := s.workers[one.target]
	if !ok {
		workers = make(slots, s.limits.Sessions)
		s.workers[one.target] = workers
	}
	s.sessions[one.id] = one
	s.order = append(s.order, one.id)
	s.running.Go(func() { one.run(ctx, workers, s.limits) })
	return nil
}

func (s *Service) resumeSession(_ context.Context, call *protocol.Call, in *api.ResumeSessionInput) (*api.ResumeSessionOutput, error) {
	one, err := s.find(call, "ssm:ResumeSession", in.SessionId)
	if err != nil {
		return nil, err
	}
	if one.over() { // no token: this is how a client learns that it is too late
		return &api.ResumeSessionOutput{SessionId: &one.id}, nil
	}
	return &api.ResumeSessionOutput{SessionId: &one.id, TokenValue: aws.String(one.renew()), StreamUrl: aws.String(streamURL(call.Host, one.id))}, nil
}

func (s *Service) terminateSession(ctx context.Context, call *protocol.Call, in *api.TerminateSessionInput) (*api.TerminateSessionOutput, error) {
	one, err := s.find(call, "ssm:TerminateSession", in.SessionId)
	if err != nil {
		return nil, err
	}
	one.cancel(errByCaller)
	select {
	case <-one.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &api.TerminateSessionOutput{SessionId: &one.id}, nil
}

// find returns the session of a call that may do an action on it.
func (s *Service) find(call *protocol.Call, action string, id *string) (*session, error) {
	name := aws.ToString(id)
	one, err := s.allowed(call, action, name)
	if err != nil {
		return nil, err
	}
	if one == nil {
		return nil, protocol.Errorf("DoesNotExistException", "Session %s does not exist.", name)
	}
	return one, nil
}

// allowed checks an action on a session and returns it, nil when there is none. Policies may name sessions
// by their owner's name or by its aws:userid.
func (s *Service) allowed(call *protocol.Call, action, id string) (*session, error) {
	s.mu.Lock()
	one := s.sessions[id]
	s.mu.Unlock()
	err := call.Allow(action, call.ARN("ssm", "session/"+id))
	if err != nil && one != nil && call.Allow(action, call.ARN("ssm", "session/"+one.alias)) == nil {
		err = nil
	}
	return one, err
}

func (s *Service) describeSessions(_ context.Context, call *protocol.Call, in *api.DescribeSessionsInput) (*api.DescribeSessionsOutput, error) {
	if err := call.Allow("ssm:DescribeSessions"); err != nil {
		return nil, err
	}
	if !slices.Contains(in.State.Values(), in.State) {
		return nil, protocol.Errorf("ValidationException", "Value '%s' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [Active, History]", in.State)
	}
	out := &api.DescribeSessionsOutput{Sessions: []types.Session{}}
	for _, one := range slices.Backward(s.list()) { // the newest first
		described := one.describe()
		active := described.Status != types.SessionStatusTerminated
		if active == (in.State == types.SessionStateActive) && matches(described, in.Filters) {
			out.Sessions = append(out.Sessions, described)
		}
	}
	return out, nil
}

// list returns all sessions, in the order of their start.
func (s *Service) list() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*session, len(s.order))
	for i, id := range s.order {
		all[i] = s.sessions[id]
	}
	return all
}

func (s *session) describe() types.Session {
	connected := s.channel.connected()
	s.mu.Lock()
	defer s.mu.Unlock()
	described := types.Session{
		SessionId: &s.id, Owner: &s.owner, Target: &s.target, DocumentName: &s.document, StartDate: &s.started,
		Status: types.SessionStatusConnected,
	}
	switch {
	case !s.ended.IsZero():
		described.Status, described.EndDate = types.SessionStatusTerminated, aws.Time(s.ended)
	case !connected:
		described.Status = types.SessionStatusDisconnected
	}
	return described
}

// matches says whether every filter lets a session through; unknown ones let none.
func matches(one types.Session, filters []types.SessionFilter) bool {
	return !slices.ContainsFunc(filters, func(f types.SessionFilter) bool {
		have := map[types.SessionFilterKey]string{
			types.SessionFilterKeyTargetId:  aws.ToString(one.Target),
			types.SessionFilterKeyOwner:     aws.ToString(one.Owner),
			types.SessionFilterKeySessionId: aws.ToString(one.SessionId),
			types.SessionFilterKeyStatus:    string(one.Status),
		}
		value, known := have[f.Key]
		return !known || value != aws.ToString(f.Value)
	})
}

// openWithin is how long a client may take to say who it is after it has connected.
const openWithin = 10 * time.Second

// dataChannelPath is where data channels are, before the session's id.
const dataChannelPath = "/v1/data-channel/"

func streamURL(host, id string) string {
	return "ws://" + host + dataChannelPath + id + "?role=publish_subscribe"
}

// Pattern is the path of the data channels, for an http.ServeMux.
const Pattern = "GET " + dataChannelPath + "{session}"

// ServeHTTP serves the data channels of clients that do not sign their connection, at Pattern.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serveChannel(w, r, r.PathValue("session"))
}

// serveChannel serves one connection of a client to a session's data channel. The session's token, which
// the client's first message carries, opens it.
func (s *Service) serveChannel(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.Lock()
	one := s.sessions[id]
	if s.closed {
		one = nil
	}
	if one != nil {
		s.running.Add(1)
		defer s.running.Done()
	}
	s.mu.Unlock()
	if one == nil {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	var upgrader websocket.Upgrader
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	defer socket.Close()
	served := make(chan struct{})
	defer close(served)
	s.running.Go(func() {
		select {
		case <-one.done:
			_ = socket.Close() // a client that has not said yet who it is
		case <-served:
		}
	})
	socket.SetReadLimit(messageLimit)
	if err := socket.SetReadDeadline(time.Now().Add(openWithin)); err != nil {
		return
	}
	var open openDataChannel
	kind, first, err := socket.ReadMessage()
	if err != nil || kind != websocket.TextMessage || json.Unmarshal(first, &open) != nil || !one.admits(open.TokenValue) {
		refusal := websocket.FormatCloseMessage(websocket.ClosePolicyViolation, "token is not valid")
		_ = socket.WriteControl(websocket.CloseMessage, refusal, time.Now().Add(writeWithin)) // it is closed anyway
		return
	}
	answer := socket.PingHandler()
	socket.SetPingHandler(func(data string) error {
		if err := socket.SetReadDeadline(time.Now().Add(silentWithin)); err != nil {
			return err
		}
		return answer(data)
	})
	if err := socket.SetReadDeadline(time.Now().Add(silentWithin)); err != nil {
		return
	}
	one.channel.serve(socket)
}

// parseTarget reads a target of the form ecs:<cluster>_<task>_<runtime id>. Names of clusters may have
// underscores, the others have none.
func parseTarget(target string) (cluster, task, runtimeID string, err error) {
	rest, ok := strings.CutPrefix(target, "ecs:")
	if last := strings.LastIndexByte(rest, '_'); ok && last > 0 {
		runtimeID, rest = rest[last+1:], rest[:last]
		if last = strings.LastIndexByte(rest, '_'); last > 0 {
			cluster, task = rest[:last], rest[last+1:]
		}
	}
	if cluster == "" || task == "" || runtimeID == "" {
		return "", "", "", protocol.Errorf("TargetNotConnected", "%s is not connected.", target)
	}
	return cluster, task, runtimeID, nil
}

// documentARN is the ARN of one of AWS's own documents: it has no account.
func documentARN(call *protocol.Call, name string) string {
	return fmt.Sprintf("arn:aws:ssm:%s::document/%s", call.Region, name)
}

// sessionID begins with the name of the user, or of the role's session; its alias with the aws:userid.
func sessionID(call *protocol.Call) (id, alias string) {
	random := make([]byte, 9)
	rand.Read(random)
	suffix := "-" + hex.EncodeToString(random)[:17]
	return call.Principal[strings.LastIndexAny(call.Principal, "/:")+1:] + suffix, call.UserID + suffix
}

func newToken() string {
	random := make([]byte, 48)
	rand.Read(random)
	return base64.StdEncoding.EncodeToString(random)
}
