package logs

import (
	"bytes"
	"io"
	"sort"
	"sync"
)

// Writer returns what a log driver writes to: each line becomes an event at the present time, without
// its line end. The stream is made when it is not there; a missing group is a
// ResourceNotFoundException. Close writes a last line that has no end. What is written after the group
// was deleted is lost. The writer is safe for concurrent use.
func (s *Service) Writer(group, stream string) (io.WriteCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return nil, errNoGroup
	}
	return &writer{service: s, stream: s.open(g, stream)}, nil
}

type writer struct {
	service *Service
	stream  *stream

	mu   sync.Mutex
	line []byte
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		w.line = append(w.line, line...)
		for len(w.line) >= maxMessage {
			w.event(w.line[:maxMessage])
			w.line = append([]byte(nil), w.line[maxMessage:]...)
		}
		if ended {
			w.flush()
		}
		rest = after
	}
	return len(p), nil
}

func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	return nil
}

// flush ends the line. CloudWatch takes no empty events.
func (w *writer) flush() {
	if line := bytes.TrimSuffix(w.line, []byte{'\r'}); len(line) > 0 {
		w.event(line)
	}
	w.line = w.line[:0]
}

func (w *writer) event(message []byte) {
	w.service.mu.Lock()
	defer w.service.mu.Unlock()
	now := w.service.now()
	w.stream.add(event{at: now, ingested: now, message: string(message)})
}

// Lines returns the messages of a stream in the order of their times, or of all streams of a group when
// the stream's name is empty. What is not there has none.
func (s *Service) Lines(group, stream string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return nil
	}
	var events []event
	for name, st := range g.streams {
		if stream == "" || stream == name {
			events = append(events, st.events...)
		}
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].at < events[j].at })
	lines := make([]string, len(events))
	for i, e := range events {
		lines[i] = e.message
	}
	return lines
}
