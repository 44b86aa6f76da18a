package ecr

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

const (
	maxManifest = 4 << 20
	maxLayer    = 512 << 20 // the registry holds what is being uploaded in memory
)

// refusal is an error in the words of a registry.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// ServeHTTP is the registry: everything below /v2/. Callers show the token of GetAuthorizationToken and
// may do what the policies of its owner allow.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	err := s.serve(w, r)
	if err == nil {
		return
	}
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		refused = refuse(http.StatusInternalServerError, "UNKNOWN", "%v", err)
	}
	if refused.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q,service=%q", "http://"+r.Host+"/", "ecr.amazonaws.com"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refused.status)
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(map[string][]item{"errors": {{refused.code, refused.message}}})
}

// request is a registry call by its parts: the repository, manifests, blobs or tags, and what is meant.
type request struct{ repository, kind, reference string }

// parse splits the path of a call; ok is false for a path of no repository.
func parse(path string) (_ request, ok bool) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/v2/"), "/")
	for _, kind := range []string{"manifests", "blobs", "tags"} {
		if i := strings.LastIndex(path, "/"+kind+"/"); i > 0 {
			return request{path[:i], kind, path[i+len(kind)+2:]}, true
		}
	}
	return request{}, false
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) error {
	call, err := s.authenticate(r)
	if err != nil {
		return err
	}
	if r.URL.Path == "/v2/" || r.URL.Path == "/v2" {
		return nil
	}
	req, ok := parse(r.URL.Path)
	if !ok {
		return refuse(http.StatusNotFound, "UNSUPPORTED", "The registry does not know %s", r.URL.Path)
	}
	if err := s.allow(call, r.Method, req); err != nil {
		return err
	}
	if err := s.exists(req.repository); err != nil {
		return err
	}
	switch req.kind {
	case "manifests":
		return s.serveManifest(w, r, req)
	case "tags":
		return s.serveTags(w, req)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLayer)
	s.blobs.ServeHTTP(w, r)
	return nil
}

func (s *Service) authenticate(r *http.Request) (*protocol.Call, error) {
	user, password, ok := r.BasicAuth()
	s.mu.Lock()
	defer s.mu.Unlock()
	t, known := s.tokens[password]
	switch {
	case !ok:
		return nil, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "Not Authorized")
	case user != "AWS" || !known:
		return nil, refuse(http.StatusUnauthorized, "DENIED", "Your authorization token is not valid. Run GetAuthorizationToken again.")
	case s.config.Now().After(t.expires):
		return nil, refuse(http.StatusForbidden, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
	}
	return t.call, nil
}

// allow checks the action that a call of the registry stands for (aws.md 5.2).
func (s *Service) allow(call *protocol.Call, method string, req request) error {
	reading := method == http.MethodGet || method == http.MethodHead
	var action string
	switch {
	case req.kind == "tags":
		action = "ListImages"
	case req.kind == "manifests" && reading:
		action = "BatchGetImage"
	case req.kind == "manifests" && method == http.MethodPut:
		action = "PutImage"
	case method == http.MethodHead:
		action = "BatchCheckLayerAvailability"
	case method == http.MethodGet:
		action = "GetDownloadUrlForLayer"
	case method == http.MethodPost:
		action = "InitiateLayerUpload"
	case method == http.MethodPatch:
		action = "UploadLayerPart"
	case method == http.MethodPut:
		action = "CompleteLayerUpload"
	default:
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.")
	}
	if err := call.Allow("ecr:"+action, s.arn(req.repository)); err != nil {
		if denied, ok := errors.AsType[*protocol.Error](err); ok {
			return refuse(http.StatusForbidden, "DENIED", "%s", denied.Message)
		}
		return err
	}
	return nil
}

func (s *Service) exists(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repositories[name] == nil {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "The repository with name '%s' does not exist in the registry with id '%s'", name, s.config.Account)
	}
	return nil
}

func (s *Service) serveTags(w http.ResponseWriter, req request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repository(req.repository)
	if err != nil {
		return err
	}
	tags := []string{}
	for img := range maps.Values(r.Images) {
		tags = append(tags, img.Tags...)
	}
	slices.Sort(tags)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"name": req.repository, "tags": tags})
}

func (s *Service) serveManifest(w http.ResponseWriter, r *http.Request, req request) error {
	if r.Method == http.MethodPut {
		return s.putManifest(w, r, req)
	}
	s.mu.Lock()
	var img *image
	if repo := s.repositories[req.repository]; repo != nil {
		img = repo.find(req.reference)
	}
	s.mu.Unlock()
	if img == nil {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "Requested image not found")
	}
	w.Header().Set("Docker-Content-Digest", img.Digest)
	w.Header().Set("Content-Type", img.MediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(img.Manifest)))
	if r.Method == http.MethodGet {
		_, err := w.Write(img.Manifest)
		return err
	}
	return nil
}

func (s *Service) putManifest(w http.ResponseWriter, r *http.Request, req request) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "The manifest cannot be read: %v", err)
	}
	digest := digestOf(raw)
	byDigest := strings.Contains(req.reference, ":")
	if byDigest && req.reference != digest {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "The manifest has the digest %s, not %s", digest, req.reference)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	repo, err := s.repository(req.repository)
	if err != nil {
		return err
	}
	img := repo.Images[digest]
	if img == nil {
		img = &image{Digest: digest, MediaType: r.Header.Get("Content-Type"), Manifest: raw, Pushed: s.config.Now()}
		if img.Size, err = s.check(r, repo, img); err != nil {
			return err
		}
	}
	if !byDigest {
		if err := repo.tag(img, req.reference); err != nil {
			return err
		}
	}
	repo.Images[digest] = img
	repo.expire(s.config.Now())
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Location", r.URL.Path)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// check sees to it that everything a manifest refers to is there, and returns the size of it all.
func (s *Service) check(r *http.Request, repo *repository, img *image) (size int64, err error) {
	var manifest struct {
		MediaType types.MediaType `json:"mediaType"`
		Config    *v1.Descriptor  `json:"config"`
		Layers    []v1.Descriptor `json:"layers"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(img.Manifest, &manifest); err != nil {
		return 0, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax': %v", err)
	}
	img.MediaType = cmp.Or(img.MediaType, string(manifest.MediaType))
	for _, inner := range manifest.Manifests {
		other := repo.Images[inner.Digest.String()]
		if other == nil {
			return 0, refuse(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "Images with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist", inner.Digest, repo.Name, s.config.Account)
		}
		size += other.Size
	}
	blobs := manifest.Layers
	if manifest.Config != nil {
		blobs = append(blobs, *manifest.Config)
	}
	if len(blobs)+len(manifest.Manifests) == 0 {
		return 0, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "The manifest has neither layers nor images")
	}
	for _, blob := range blobs {
		n, err := (store{s.config.Dir}).Stat(r.Context(), repo.Name, blob.Digest)
		if err != nil {
			return 0, refuse(http.StatusNotFound, "BLOB_UNKNOWN", "Layers with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist", blob.Digest, repo.Name, s.config.Account)
		}
		size += n
	}
	return size, nil
}
