package webapi

import (
	"encoding/json"
	"net/http"
)

// WorkerRetirer is a Controller whose workers can be told to leave one by one, as an orchestrator
// does with those that are replaced or too many.
type WorkerRetirer interface {
	// QuitWorkers tells workers to stop their users, report and end, and returns before they have.
	// Ids of workers that are not there are ignored.
	QuitWorkers(ids []string) error
}

// quitWorkers takes {"ids": ["…"]}.
func (s *Server) quitWorkers(w http.ResponseWriter, r *http.Request) error {
	retirer, ok := s.controller.(WorkerRetirer)
	if !ok {
		return &statusError{http.StatusNotImplemented, "workers of this process cannot be told to leave"}
	}
	var wish struct {
		IDs []string `json:"ids"`
	}
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
		return badRequest("workers to quit", err)
	}
	if len(wish.IDs) == 0 {
		return &statusError{http.StatusBadRequest, `workers to quit: no ids; want {"ids": ["…"]}`}
	}
	if err := retirer.QuitWorkers(wish.IDs); err != nil {
		return err
	}
	s.requests.forget()
	writeJSON(w, http.StatusOK, outcome{Success: true, Message: "workers told to quit"})
	return nil
}
