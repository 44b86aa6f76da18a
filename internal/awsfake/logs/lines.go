package logs

import "time"

// Write adds one line to a stream, as Lambda does: group and stream are made when they are absent.
func (s *Service) Write(group, stream string, at time.Time, line string) {
	if line == "" {
		return // CloudWatch takes no empty events
	}
	_ = s.create(group, 0, nil) // there already, or a name that the writer refuses
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[group]; g != nil {
		s.open(g, stream).add(event{at: at.UnixMilli(), ingested: s.now(), message: line[:min(len(line), maxMessage)]})
	}
}
