package locustfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// Options say which files to load.
type Options struct {
	// Dir is the directory that paths are relative to and that nothing may leave; "" = the working
	// directory.
	Dir string
	// Files are loaded in this order; each may name several, separated by commas.
	Files []string
	// Stderr receives what the files print, and notes; nil discards.
	Stderr io.Writer
	// Getenv looks a variable of the process environment up; nil = no environment.
	Getenv func(string) (string, bool)
}

// File is what one or several locustfiles define.
type File struct {
	classes   []*loadtest.UserClass
	shapes    []NamedShape
	listeners map[string][]starlark.Callable
	path      string
	sum       string
	sources   []Source
	stderr    io.Writer
	getenv    func(string) (string, bool)
	client    atomic.Pointer[loadclient.Client]
	sessions  sessionPool
	// events counts the calls of listeners since Bind.
	events   atomic.Uint64
	printing sync.Mutex
	names    map[*classValue]string
	// watch is set while the file is checked.
	watch atomic.Pointer[watcher]
}

// NamedShape is a load shape under the name of its global.
type NamedShape struct {
	Name  string
	Shape loadtest.Shape
	// UseCommonOptions keeps users and spawn rate visible beside the shape.
	UseCommonOptions bool
}

// Classes returns the user classes in the order of their definition, abstract ones included.
func (f *File) Classes() []*loadtest.UserClass { return f.classes }

// Shapes returns the load shapes in the order of their definition.
func (f *File) Shapes() []NamedShape { return f.shapes }

// Path returns the paths as given, joined by commas.
func (f *File) Path() string { return f.path }

// SHA256 identifies the content of the files and of every module that they loaded.
func (f *File) SHA256() string { return f.sum }

// Sources returns the files with every module that they load, so that another process can load them:
// the files themselves first, in their order.
func (f *File) Sources() []Source { return f.sources }

// Bind gives users and listeners their limiter; call it before the run.
func (f *File) Bind(c *loadclient.Client) {
	f.client.Store(c)
	f.events.Store(0)
}

// dialect is what is switched on beyond plain Starlark.
var dialect = syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true}

// maxFileBytes bounds a locustfile.
const maxFileBytes = 10 << 20

// Load executes the files.
func Load(options Options) (*File, error) {
	f := &File{listeners: map[string][]starlark.Callable{}, names: map[*classValue]string{}, stderr: options.Stderr, getenv: options.Getenv}
	if f.stderr == nil {
		f.stderr = io.Discard
	}
	if f.getenv == nil {
		f.getenv = func(string) (string, bool) { return "", false }
	}
	f.sessions.init(f)
	l := &loader{file: f, modules: map[string]*module{}}
	if err := l.setRoot(options.Dir); err != nil {
		return nil, err
	}
	var paths []string
	for _, given := range options.Files {
		for path := range strings.SplitSeq(given, ",") {
			if path = strings.TrimSpace(path); path != "" {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) == 0 {
		return nil, errors.New("no locustfile given")
	}
	for _, path := range paths {
		if err := l.loadMain(path); err != nil {
			return nil, err
		}
	}
	f.path = strings.Join(paths, ",")
	f.sum = l.sum()
	f.sources = l.relativeSources()
	if !slices.ContainsFunc(f.classes, func(c *loadtest.UserClass) bool { return !c.Abstract }) {
		return nil, &Error{File: f.path, Msg: "no user class found: give a global the value of user_class(…)"}
	}
	return f, nil
}

// loader executes files and the modules that they load.
type loader struct {
	file    *File
	dir     string             // as given; "" = the working directory
	root    string             // without symbolic links
	modules map[string]*module // by their path without symbolic links
	mains   []string           // those that were given, not loaded
	hashes  [][]byte
	sources []Source // with paths without symbolic links
}

type module struct {
	globals starlark.StringDict
	err     error
	loading bool
}

func (l *loader) setRoot(dir string) error {
	l.dir = dir
	if dir == "" {
		dir = "."
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("-C: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("-C: %s is not a directory", dir)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("-C: %w", err)
	}
	l.root, err = filepath.EvalSymlinks(absolute)
	return err
}

// loadMain loads a locustfile as the user named it.
func (l *loader) loadMain(path string) error {
	path, err := l.twin(path)
	if err != nil {
		return err
	}
	full := path
	if !filepath.IsAbs(path) {
		full = filepath.Join(l.root, path)
	}
	real, err := filepath.EvalSymlinks(full)
	if err != nil {
		return fileError(path, err)
	}
	if !filepath.IsAbs(path) && !l.inside(real) {
		return &Error{File: path, Msg: "the path leaves " + l.bounds()}
	}
	if slices.Contains(l.mains, real) {
		return &Error{File: path, Msg: "the file is given twice"}
	}
	l.mains = append(l.mains, real)
	m := l.module(real, path)
	if m.err != nil {
		return m.err
	}
	return l.register(m.globals, path)
}

// module executes a file that was not executed before; display is what errors call it.
func (l *loader) module(real, display string) *module {
	m := l.modules[real]
	if m == nil {
		m = &module{loading: true}
		l.modules[real] = m
		m.globals, m.err = l.execute(real, display)
		m.loading = false
	}
	return m
}

// twin returns the Starlark file beside a Python file, and says so.
func (l *loader) twin(path string) (string, error) {
	base, python := strings.CutSuffix(path, ".py")
	if !python {
		return path, nil
	}
	star := base + ".star"
	full := star
	if !filepath.IsAbs(star) {
		full = filepath.Join(l.root, star)
	}
	if _, err := os.Stat(full); err != nil {
		return "", &Error{File: path, Msg: "Python locustfiles run on real Locust workers (--locust-command locust); here " +
			star + " is run instead, and there is no such file"}
	}
	fmt.Fprintf(l.file.stderr, "%s: running %s instead\n", path, star)
	return star, nil
}

func fileError(path string, err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return &Error{File: path, Msg: err.Error(), Err: err}
}

// bounds names the directory that nothing may leave.
func (l *loader) bounds() string {
	if l.dir == "" {
		return "the working directory; give a folder that holds all files with -C"
	}
	return "the directory given with -C (" + l.dir + ")"
}

func (l *loader) inside(real string) bool {
	relative, err := filepath.Rel(l.root, real)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// execute runs one file; display is what errors call it.
func (l *loader) execute(real, display string) (globals starlark.StringDict, err error) {
	source, err := readFile(real)
	if err != nil {
		return nil, fileError(display, err)
	}
	sum := sha256.Sum256(source)
	source = bytes.TrimPrefix(source, []byte("\ufeff"))
	l.hashes = append(l.hashes, sum[:])
	l.sources = append(l.sources, Source{Path: real, Text: string(source), Main: slices.Contains(l.mains, real)})
	s := l.file.sessions.fresh()
	s.thread.Load = func(_ *starlark.Thread, path string) (starlark.StringDict, error) { return l.load(real, path) }
	s.thread.Name = display
	defer func() {
		if cause := recover(); cause != nil {
			err = &Error{File: display, Msg: fmt.Sprintf("the file crashed the interpreter: %v", cause)}
		}
	}()
	s.stepsLeft = maxLoadSteps
	options := dialect
	tree, err := options.Parse(display, source, 0)
	if err == nil {
		err = checkTree(tree)
	}
	if err != nil {
		return nil, positioned(err)
	}
	guardTree(tree)
	predeclared := l.file.predeclared()
	program, err := starlark.FileProgram(tree, predeclared.Has)
	if err != nil {
		return nil, positioned(err)
	}
	globals, err = program.Init(s.thread, predeclared)
	if err != nil {
		return nil, positioned(err)
	}
	if err := freeze(globals); err != nil {
		var positioned *Error
		if errors.As(err, &positioned) {
			return nil, err
		}
		return nil, &Error{File: display, Msg: err.Error()}
	}
	return globals, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("the file has more than %d bytes", maxFileBytes)
	}
	return data, err
}

// load is the load statement: paths that begin with ./ or ../ are relative to the loading file,
// others to the root.
func (l *loader) load(from, path string) (starlark.StringDict, error) {
	full := filepath.Join(l.root, filepath.FromSlash(path))
	if strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../") {
		full = filepath.Join(filepath.Dir(from), filepath.FromSlash(path))
	}
	if filepath.IsAbs(path) {
		return nil, fmt.Errorf("%s: an absolute path cannot be loaded", path)
	}
	if !l.inside(full) {
		return nil, fmt.Errorf("%s leaves %s", path, l.bounds())
	}
	real, err := filepath.EvalSymlinks(full)
	if err != nil {
		// Not an Error: the place at fault is the load statement.
		return nil, errors.New(fileError(path, err).Error())
	}
	if !l.inside(real) {
		return nil, fmt.Errorf("%s leads through a symbolic link out of %s", path, l.bounds())
	}
	name, err := filepath.Rel(l.root, real)
	if err != nil {
		name = path
	}
	m := l.module(real, filepath.ToSlash(name))
	if m.loading {
		return nil, fmt.Errorf("%s is loaded in a cycle", path)
	}
	return m.globals, m.err
}

// sum identifies everything that was loaded.
func (l *loader) sum() string {
	if len(l.hashes) == 1 {
		return hex.EncodeToString(l.hashes[0])
	}
	all := sha256.New()
	for _, h := range l.hashes {
		all.Write(h)
	}
	return hex.EncodeToString(all.Sum(nil))
}

// register takes the classes, shapes and listeners of a file's globals, in the order of definition.
func (l *loader) register(globals starlark.StringDict, path string) error {
	names := globals.Keys()
	slices.SortStableFunc(names, func(a, b string) int { return definedAt(globals[a]) - definedAt(globals[b]) })
	for _, name := range names {
		switch v := globals[name].(type) {
		case *classValue:
			if other, taken := l.file.names[v]; taken {
				return &Error{File: path, Line: int(v.pos.Line), Col: int(v.pos.Col), Msg: fmt.Sprintf("one user class has two names, %s and %s", other, name)}
			}
			l.file.names[v] = name
			if slices.ContainsFunc(l.file.classes, func(c *loadtest.UserClass) bool { return c.Name == name }) {
				return &Error{File: path, Line: int(v.pos.Line), Col: int(v.pos.Col), Msg: fmt.Sprintf("two user classes are named %s", name)}
			}
			class, err := v.build(l.file, name)
			if err != nil {
				return &Error{File: path, Line: int(v.pos.Line), Col: int(v.pos.Col), Msg: err.Error()}
			}
			l.file.classes = append(l.file.classes, class)
		case *shapeValue:
			l.file.shapes = append(l.file.shapes, NamedShape{Name: name, Shape: v.shape(l.file), UseCommonOptions: v.common})
		case *starlark.Function:
			if isEvent(name) {
				l.file.listeners[name] = append(l.file.listeners[name], v)
			}
		}
	}
	return nil
}

// nameOf returns the name of a class, "" when it has none.
func (f *File) nameOf(c *classValue) string { return f.names[c] }

// definedAt orders globals by where they were made.
func definedAt(v starlark.Value) int {
	switch v := v.(type) {
	case *classValue:
		return v.order
	case *shapeValue:
		return v.order
	}
	return 0
}

// predeclared are the names that every file has.
func (f *File) predeclared() starlark.StringDict {
	names := starlark.StringDict{
		"math":   math.Module,
		"json":   json.Module,
		"time":   time.Module,
		"random": randomModule(),
		"Limit":  limitModule(),
	}
	for name, builtin := range builtins {
		names[name] = starlark.NewBuiltin(name, builtin)
	}
	for name, builtin := range guards {
		names[name] = starlark.NewBuiltin(name, builtin)
	}
	return names
}
