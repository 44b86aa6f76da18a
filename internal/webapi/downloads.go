package webapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// csv serves one of the CSV views as a file to keep.
func (s *Server) csv(part string, view func(*stats.Snapshot) string) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		snapshot := s.snapshot()
		content := view(snapshot)
		s.offerFile(w.Header(), "text/csv", snapshot.Started, "_"+part+".csv")
		_, _ = io.WriteString(w, content)
		return nil
	}
}

func (s *Server) fullHistoryCSV(w http.ResponseWriter, r *http.Request) error {
	if s.config.HistoryFile == "" {
		return &statusError{http.StatusNotFound, "Error: Server was not started with option to generate full history."}
	}
	content, err := os.ReadFile(s.config.HistoryFile)
	if err != nil {
		return fmt.Errorf("history file: %w", err)
	}
	s.offerFile(w.Header(), "text/csv; charset=utf-8", s.snapshot().Started, "_requests_full_history.csv")
	sum := sha256.Sum256(content)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	return nil
}

// report serves the result as one page.
func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	document, err := s.document()
	if err != nil {
		return err
	}
	query := r.URL.Query()
	theme := "light"
	if query.Get("theme") == "dark" {
		theme = "dark"
	}
	downloadURL := "?download=1&theme=" + theme
	if query.Get("download") != "" {
		downloadURL = ""
	}
	var page bytes.Buffer
	if err := document.WritePage(&page, theme, downloadURL); err != nil {
		return err
	}
	if downloadURL == "" {
		s.offerFile(w.Header(), "text/html; charset=utf-8", s.snapshot().Started, ".html")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	_, _ = w.Write(page.Bytes())
	return nil
}

// result serves the result document, of a run under way or of the last one.
func (s *Server) result(w http.ResponseWriter, _ *http.Request) error {
	document, err := s.document()
	if err != nil {
		return err
	}
	body, err := encode(document)
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	writeBody(w, http.StatusOK, body)
	return nil
}

func (s *Server) statistics(w http.ResponseWriter, _ *http.Request) error {
	teller, ok := s.controller.(StatisticsTeller)
	if !ok {
		return &statusError{http.StatusNotFound, "the statistics behind the result are not told here"}
	}
	told := teller.Statistics()
	if told == nil {
		return errNoResult
	}
	body, err := encode(told)
	if err != nil {
		return fmt.Errorf("statistics: %w", err)
	}
	writeBody(w, http.StatusOK, body)
	return nil
}

var errNoResult = &statusError{http.StatusNotFound, "there is no result yet: no run was started"}

func (s *Server) document() (Document, error) {
	document, err := s.controller.Result()
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if document == nil {
		return nil, errNoResult
	}
	return document, nil
}

// offerFile makes the answer a file to keep, named as Locust names it.
func (s *Server) offerFile(h http.Header, contentType string, started time.Time, suffix string) {
	if started.IsZero() {
		started = time.Now()
	}
	name := "Locust_" + started.Local().Format("2006-01-02-15h04") + "_" + s.config.Locustfile
	plan := s.controller.Plan()
	if plan.Host != "" {
		name += "_" + plan.Host
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": fileName(name + suffix)}))
}

// fileName replaces what cannot stand in the name of a file.
func fileName(name string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || strings.ContainsRune(`/\:*?"<>|`, c) {
			return '_'
		}
		return c
	}, name)
}
