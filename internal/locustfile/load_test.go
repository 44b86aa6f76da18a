package locustfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

const oneClass = "def t(user):\n    pass\n\nX = user_class(t)\n"

func classNamesOf(f *File) []string {
	var names []string
	for _, c := range f.Classes() {
		names = append(names, c.Name)
	}
	return names
}

func TestFilesAreFoundRelativeToTheDirectory(t *testing.T) {
	dir := t.TempDir()
	absolute := write(t, dir, "files/a.star", oneClass)
	for name, options := range map[string]Options{
		"relative":            {Dir: dir, Files: []string{"files/a.star"}},
		"absolute":            {Dir: dir, Files: []string{absolute}},
		"absolute, elsewhere": {Dir: t.TempDir(), Files: []string{absolute}},
		"directory itself":    {Dir: filepath.Join(dir, "files"), Files: []string{"./a.star"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Load(options)
			if err != nil {
				t.Fatal(err)
			}
			if got := classNamesOf(f); !slices.Equal(got, []string{"X"}) {
				t.Errorf("classes: got %v", got)
			}
			if f.Path() != options.Files[0] {
				t.Errorf("path: got %q, want it as given, %q", f.Path(), options.Files[0])
			}
		})
	}
}

func TestModulesAreFoundRelativeToTheFileOrTheDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "common/deep.star", "def t(user):\n    pass\n")
	write(t, dir, "common/task.star", "load(\"./deep.star\", \"t\")\ntask_of = t\n")
	for name, source := range map[string]string{
		"relative to the file":      "load(\"../common/task.star\", \"task_of\")\nX = user_class(task_of)\n",
		"relative to the directory": "load(\"common/task.star\", \"task_of\")\nX = user_class(task_of)\n",
	} {
		t.Run(name, func(t *testing.T) {
			write(t, dir, "files/a.star", source)
			if _, err := Load(Options{Dir: dir, Files: []string{"files/a.star"}}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNothingLeavesTheDirectory(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "secret.star", "def t(user):\n    pass\n\nX = user_class(t)\n")
	dir := filepath.Join(outside, "root")
	write(t, dir, "by_path.star", "load(\"../secret.star\", \"t\")\nX = user_class(t)\n")
	write(t, dir, "by_link.star", "load(\"./link.star\", \"t\")\nX = user_class(t)\n")
	if err := os.Symlink(filepath.Join(outside, "secret.star"), filepath.Join(dir, "link.star")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"by_path.star", "by_link.star", "link.star", "../secret.star"} {
		_, err := Load(Options{Dir: dir, Files: []string{file}})
		if err == nil || !strings.Contains(err.Error(), "-C") {
			t.Errorf("%s: got %v, want an error that names -C", file, err)
		}
	}
}

func TestAModuleErrorNamesItsPlace(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "common/bad.star", "x = 1\ny = x +\n")
	write(t, dir, "a.star", "load(\"./common/bad.star\", \"x\")\n")
	_, err := Load(Options{Dir: dir, Files: []string{"a.star"}})
	if err == nil || !strings.Contains(err.Error(), "common/bad.star:2:8: got newline") {
		t.Errorf("got %v", err)
	}
	var located *Error
	if !errors.As(err, &located) || located.File != "common/bad.star" || located.Line != 2 {
		t.Errorf("got %+v, want the place in the module", located)
	}
}

func TestAModuleIsExecutedOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "m.star", "print(\"executed\")\ndef t(user):\n    pass\n")
	write(t, dir, "n.star", "load(\"m.star\", \"t\")\nu = t\n")
	write(t, dir, "a.star", "load(\"./m.star\", \"t\")\nload(\"n.star\", \"u\")\nX = user_class([t, u])\n")
	var out bytes.Buffer
	if _, err := Load(Options{Dir: dir, Files: []string{"a.star"}, Stderr: &out}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "executed\n" {
		t.Errorf("got %q, want one execution, its print on stderr", out.String())
	}
}

// A file may be given and be loaded by another one: it is the same class for both.
func TestAFileThatIsGivenAndLoadedIsExecutedOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "base.star", "print(\"executed\")\n"+oneClass)
	write(t, dir, "more.star", "load(\"base.star\", \"X\")\nY = user_class([], base=X)\nS = load_shape(lambda shape: (1, 1, [X]))\n")
	for _, files := range [][]string{{"base.star", "more.star"}, {"more.star", "base.star"}} {
		var out bytes.Buffer
		f, err := Load(Options{Dir: dir, Files: files, Stderr: &out})
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != "executed\n" || len(f.Classes()) != 2 {
			t.Errorf("%v: printed %q, classes %v", files, out.String(), classNamesOf(f))
		}
		if step, _, err := f.Shapes()[0].Shape.Tick(loadtest.ShapeState{}); err != nil || !slices.Equal(step.Classes, []string{"X"}) {
			t.Errorf("%v: step %+v, error %v", files, step, err)
		}
	}
	if _, err := Load(Options{Dir: dir, Files: []string{"base.star", "./base.star"}}); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("twice: got %v", err)
	}
}

func TestFilesOfOtherSystemsLoad(t *testing.T) {
	for name, source := range map[string]string{
		"line ends of Windows": strings.ReplaceAll(oneClass, "\n", "\r\n"),
		"a byte order mark":    "\ufeff" + oneClass,
	} {
		if _, err := loadSource(t, source); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadedNamesRegisterNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "m.star", oneClass+"S = stages([(1, 1, 1)])\ndef on_test_start(env):\n    fail(\"a module's listener\")\n")
	write(t, dir, "a.star", "load(\"m.star\", \"S\", \"X\", \"on_test_start\")\nY = user_class([], base=X)\n")
	f, err := Load(Options{Dir: dir, Files: []string{"a.star"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := classNamesOf(f); !slices.Equal(got, []string{"Y"}) {
		t.Errorf("classes: got %v, want Y only", got)
	}
	if len(f.Shapes()) != 0 || f.Events().TestStart != nil {
		t.Error("a loaded shape or listener was registered")
	}
}

func TestSeveralFilesAreMerged(t *testing.T) {
	dir := t.TempDir()
	listener := "def on_test_start(env):\n    print(\"%s\")\n\n"
	write(t, dir, "b.star", strings.ReplaceAll(listener, "%s", "b")+oneClass)
	write(t, dir, "a.star", strings.ReplaceAll(listener, "%s", "a")+strings.ReplaceAll(oneClass, "X", "Y"))
	var out bytes.Buffer
	f, err := Load(Options{Dir: dir, Files: []string{"b.star, a.star"}, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	if got := classNamesOf(f); !slices.Equal(got, []string{"X", "Y"}) {
		t.Errorf("classes: got %v, want X Y", got)
	}
	if _, err := f.Check(t.Context(), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "b\na\n" {
		t.Errorf("listeners: got %q, want the files' order", out.String())
	}
	write(t, dir, "a.star", oneClass)
	if _, err := Load(Options{Dir: dir, Files: []string{"b.star", "a.star"}}); err == nil || !strings.Contains(err.Error(), "two user classes are named X") {
		t.Errorf("equal names: got %v", err)
	}
}

func TestAPythonFileMeansItsTwin(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.py", "import locust")
	_, err := Load(Options{Dir: dir, Files: []string{"a.py"}})
	if err == nil || !strings.Contains(err.Error(), "--locust-command") {
		t.Errorf("without a twin: got %v, want the way to run it on Locust workers", err)
	}
	write(t, dir, "a.star", oneClass)
	var out bytes.Buffer
	if _, err := Load(Options{Dir: dir, Files: []string{"a.py"}, Stderr: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "a.star") {
		t.Errorf("the note: got %q", out.String())
	}
}

func TestWhatIsNoLocustfile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "empty.star", "")
	write(t, dir, "abstract.star", "def t(user):\n    pass\n\nX = user_class(t, abstract=True)\n")
	if err := os.Mkdir(filepath.Join(dir, "folder.star"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"missing.star":  "no such file",
		"empty.star":    "no user class",
		"abstract.star": "no user class",
		"folder.star":   "not a file",
		"":              "no locustfile",
	} {
		if _, err := Load(Options{Dir: dir, Files: []string{file}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", file, err, want)
		}
	}
	if _, err := Load(Options{Dir: filepath.Join(dir, "nowhere"), Files: []string{"a.star"}}); err == nil {
		t.Error("a missing directory was accepted")
	}
}

func TestClassesTakeFromTheirBaseWhatIsNotGiven(t *testing.T) {
	f := mustLoad(t, `
def a(user): pass
def b(user): pass
def start(user): pass
def stop(user): pass

Base = user_class(a, wait_time=constant(2), weight=3, fixed_count=4, on_start=start, on_stop=stop, host="h", abstract=True)
Same = user_class([], base=Base)
More = user_class({b: 5}, wait_time=None, weight=0.5, fixed_count=0, on_start=None, on_stop=None, host="i", base=Base)
`)
	classes := map[string]*loadtest.UserClass{}
	for _, c := range f.Classes() {
		classes[c.Name] = c
	}
	same := classes["Same"]
	if same.Abstract || same.Weight != 3 || same.FixedCount != 4 || same.Host != "h" || same.OnStart == nil || same.OnStop == nil ||
		same.WaitTime != loadtest.Constant(2e9) || len(same.Tasks) != 1 || same.Tasks[0].Name != "a" {
		t.Errorf("Same: got %+v", same)
	}
	more := classes["More"]
	if more.Weight != 0.5 || more.FixedCount != 0 || more.Host != "i" || more.OnStart != nil || more.OnStop != nil || more.WaitTime != nil {
		t.Errorf("More: got %+v", more)
	}
	if len(more.Tasks) != 2 || more.Tasks[0].Name != "a" || more.Tasks[1].Name != "b" || more.Tasks[1].Weight != 5 {
		t.Errorf("tasks: got %+v, want those of the base first", more.Tasks)
	}
	if !classes["Base"].Abstract {
		t.Error("Base is not abstract")
	}
}

func TestTasksMayBeGivenInManyWays(t *testing.T) {
	const functions = "def a(user): pass\ndef b(user): pass\n"
	for source, want := range map[string]string{
		"a":                                "a",
		"[a, b, a]":                        "a*2 b",
		"sequential([a, b, a])":            "seq: a b a",
		"sequential([(a, 2), b])":          "seq: a*2 b",
		"[a, task(a, tags=[\"t\"])]":       "a a+t",
		"[lambda u: a(u), lambda u: b(u)]": "lambda lambda-2",
		"[[a], [b], {a: 2}]":               "TaskSet(a) TaskSet-2(b) TaskSet-3(a*2)",
		"[task(a, name=\"b\"), b, b]":      "b b-2*2",
		"(a, b)":                           "a b",
		"{a: 3, b: 1}":                     "a*3 b",
		"{a: 3, b: 0}":                     "a*3",
		"[(a, 3), b]":                      "a*3 b",
		"task(a, weight=2)":                "a*2",
		"[task(a, name=\"x\"), b]":         "x b",
		"[a, [a, b]]":                      "a TaskSet(a b)",
		"[a, {b: 2}]":                      "a TaskSet(b*2)",
		"sequential([a, b])":               "seq: a b",
		"[a, sequential([a, b])]":          "a SequentialTaskSet(seq: a b)",
		"[task([a, b], weight=2, name=\"set\", tags=[\"t\"])]": "set*2+t(a b)",
		"[task(sequential([a]), name=\"steps\")]":              "steps(seq: a)",
		"{task(a, tags=[\"slow\"]): 4, sequential([b]): 2}":    "a*4+slow SequentialTaskSet*2(seq: b)",
		"[a, [b, [a]]]": "a TaskSet(b TaskSet(a))",
	} {
		t.Run(source, func(t *testing.T) {
			f := mustLoad(t, functions+"X = user_class("+source+")\n")
			c := f.Classes()[0]
			got := strings.Join(describe(c.Tasks), " ")
			if c.Sequential {
				got = "seq: " + got
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func describe(tasks []loadtest.Task) []string {
	var out []string
	for _, task := range tasks {
		text := task.Name
		if w := task.WeightOrDefault(); w != 1 {
			text += "*" + string(rune('0'+w))
		}
		for _, tag := range task.Tags {
			text += "+" + tag
		}
		if task.Set != nil {
			inner := strings.Join(describe(task.Set.Tasks), " ")
			if task.Set.Sequential {
				inner = "seq: " + inner
			}
			text += "(" + inner + ")"
		}
		out = append(out, text)
	}
	return out
}

func TestAClassOfWeightZeroIsNotRun(t *testing.T) {
	f := mustLoad(t, "def t(user): pass\nX = user_class(t)\nY = user_class(t, weight=0)\nZ = user_class(t, weight=0, fixed_count=1)\n")
	var run []string
	for _, c := range f.Classes() {
		if !c.Abstract {
			run = append(run, c.Name)
		}
	}
	if !slices.Equal(run, []string{"X", "Z"}) {
		t.Errorf("got %v, want X and Z", run)
	}
}

func TestTheSumCoversModules(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "m.star", "x = 1\n")
	write(t, dir, "a.star", "load(\"m.star\", \"x\")\n"+oneClass)
	load := func() string {
		f, err := Load(Options{Dir: dir, Files: []string{"a.star"}})
		if err != nil {
			t.Fatal(err)
		}
		return f.SHA256()
	}
	before := load()
	if before != load() {
		t.Error("the sum differs between two loads")
	}
	write(t, dir, "m.star", "x = 2\n")
	if before == load() {
		t.Error("the sum did not notice a changed module")
	}
}

func TestHostileFilesAreRefused(t *testing.T) {
	for name, source := range map[string]string{
		"brackets":   "x = " + strings.Repeat("[", 100_000),
		"a sum":      "x = 1" + strings.Repeat("-1", 400_000),
		"attributes": "def f(a):\n    return a" + strings.Repeat(".b", 400_000) + "\n",
		"minus":      "x = " + strings.Repeat("-", 400_000) + "1",
		"a list":     "x = []\nfor i in range(100000):\n    x = [x]\n" + oneClass,
		"tuples":     "x = ()\nfor i in range(100000):\n    x = (x,)\n" + oneClass,
		"weights":    "def t(user): pass\nX = user_class({t: 2000000000})\n",
		"repeat":     "x = [0] * (1 << 40)\n",
		"shift":      "x = 1 << 100000\n",
		"bytes":      "\x00\xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := loadSource(t, source); err == nil {
				t.Error("the file was accepted")
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.star")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		text, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range splitChunks(string(text)) {
			f.Add(c.source)
		}
	}
	f.Fuzz(func(t *testing.T, source string) {
		file, err := loadSource(t, source)
		if err == nil && len(file.Classes()) == 0 {
			t.Error("a file without a class was accepted")
		}
	})
}
