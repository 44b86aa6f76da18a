package locust_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// acceptance is the list of what has to work between Locust and this program, by number, with the tests
// that show it: those of this package by name, others by package. "make interop" runs all of them with
// the real programs, but for those of internal packages that need none.
var acceptance = [...]struct {
	what  string
	tests string
}{
	// Workers of Locust on our master.
	1:  {"a worker started before the master registers, once", "TestLocust01AWorkerStartedBeforeItsMaster"},
	2:  {"indexes are 0 and 1, and kept over a stop", "TestLocust02IndexesAreKept"},
	3:  {"-f - is answered, the temporary identity is no worker", "TestLocust03AWorkerThatFetchesItsLocustfile TestLocust03OurProgramGivesItsPythonFile"},
	4:  {"the steps of a ramp, and what each worker runs", "TestLocust04StepsOfARamp"},
	5:  {"spawn timestamps increase over edits, stops and restarts of the master", "TestLocust05SpawnTimestampsIncrease"},
	6:  {"weighted and fixed-count classes end as under Locust's master", "TestLocust06WeightsAndFixedCountsEndAsUnderLocust"},
	7:  {"a ramp down lets busy users finish", "TestLocust07BusyUsersFinishTheirTask"},
	8:  {"a stop during a ramp", "TestLocust08AStopDuringARamp"},
	9:  {"a stop with a stop timeout, and a start in the gap", "TestLocust09AStopWithATimeout"},
	10: {"a killed worker is missing, then forgotten; the others go on", "TestLocust10AWorkerThatIsKilled"},
	11: {"a frozen worker heals, the total is the target", "TestLocust11AFrozenWorkerHeals"},
	12: {"workers that join at plateau, with and without rebalancing", "TestLocust12WorkersThatJoinLater"},
	13: {"the last worker ends the run; exit codes", "TestLocust13TheLastWorkerQuits TestLocust13HeadlessExitsWithTheRightCode"},
	14: {"the same stream gives the same statistics, errors, exceptions and logs", "TestLocust14And42TheSameStreamGivesTheSameNumbers"},
	15: {"the final report sent on quit counts", "TestLocust15WhatAWorkerReportsAtItsEndCounts"},
	16: {"custom arguments and tags reach the workers", "TestLocust16OptionsAndTagsReachTheWorkers"},
	17: {"custom messages in both directions, with times", "TestLocust17CustomMessages"},
	18: {"a master that is killed and started again adopts its workers", "TestLocust18AMasterThatIsStartedAgain"},
	19: {"any version registers, none at all is refused", "TestLocust19AnyVersionRegisters"},
	20: {"garbage stops nobody", "TestLocust20GarbageHarmsNobodyElse internal/wire.TestBadMessages internal/wire.TestABadMessageCostsItself"},
	21: {"no worker is told of a class that it does not have", "TestLocust21ClassesThatAWorkerDoesNotHave"},
	22: {"1000 workers are answered in time", "TestLocust22AThousandWorkers"},

	// Our workers on Locust's master.
	23: {"registers with -1 or a version; takes its index", "TestLocust23TheWorkerRegisters"},
	24: {"heartbeats with all keys, also under full load", "TestLocust24HeartbeatsUnderFullLoad"},
	25: {"idle reports have no minimum and no last request", "TestLocust25IdleReports"},
	26: {"every class named in a spawn is echoed, a ramp ends in time", "TestLocust26ClassesAreEchoed"},
	27: {"steps up and down, old timestamps, classes that are not named", "TestLocust27StepsUpAndDown"},
	28: {"no spawning_complete after client_stopped", "TestLocust28NothingIsCompleteAfterAStop"},
	29: {"client_stopped, the stop timeout, client_ready; also when idle", "TestLocust29AfterAStop"},
	30: {"quit: final statistics, goodbye, exit 0; reconnect loses nothing", "TestLocust30Quit TestLocust30Reconnect"},
	31: {"a master silent for 60 s is left, one that is back is not", "TestLocust31AMasterThatDoesNotAnswer"},
	32: {"statistics equal those of a worker of Locust with the same samples", "TestLocust32And33NumbersEqualThoseOfAWorkerOfLocust internal/wire.TestPercentilesEqualLocusts"},
	33: {"the same error of both kinds of worker is one row", "TestLocust32And33NumbersEqualThoseOfAWorkerOfLocust internal/wire.TestErrorKeysEqualLocusts"},
	34: {"Locust's workers, one as boomer makes them, and ours in one run", "TestLocust34AMixedFleet TestLocust34WhatUsersOfAMixedFleetDoIsCountedExactly"},

	// The web UI and scripts.
	35: {"the page under / and a base path, with 0, 1 and 500+ rows, without console errors", "internal/webapi.TestARunInTheBrowser internal/webapi.TestClassPickerUnderABasePath internal/webapi.TestAnyNumberOfRowsInTheBrowser"},
	36: {"rates follow the current rate and fall to 0", "internal/webapi.TestTheRateInTheBrowserFallsToNothing internal/webapi.TestCurrentRatesFallWhenTrafficEnds TestLocust36TheCurrentRateFalls"},
	37: {"the page shows the end of a slow stop", "internal/webapi.TestASlowStopIsSeenToItsEnd"},
	38: {"a reload restores charts, the tabs fill", "internal/webapi.TestAReloadBringsTheChartsBack internal/webapi.TestARunInTheBrowser internal/webapi.TestDownloadsInTheBrowser"},
	39: {"Start waits for a worker", "internal/webapi.TestStartWaitsForAWorker"},
	40: {"class picker and custom parameters", "internal/webapi.TestClassPickerUnderABasePath internal/webapi.TestPageTellsTheUIWhatItNeeds TestLocust21ClassesThatAWorkerDoesNotHave"},
	41: {"every route answers as Locust's; refusals; /stop twice; run times end with their run", "internal/webapi.TestAnswersAreThoseOfLocust internal/webapi.TestSwarmRefusesWhatItCannotDoAndNamesIt TestLocust41TheRunTimeOfARunEndsNoLaterOne"},
	42: {"CSV downloads parse as Locust's", "TestLocust14And42TheSameStreamGivesTheSameNumbers internal/webapi.TestDownloads"},
	43: {"names with </script> are harmless", "internal/webapi.TestPageTellsTheUIWhatItNeeds internal/webapi.TestReportIsOnePageThatCanBeKept internal/webapi.TestAnyNumberOfRowsInTheBrowser"},
	44: {"other sites' requests are refused, scripts and allowed sites are served", "internal/webapi.TestOnlyOwnPagesMayUseTheServer TestLocust44OtherSitesAndScripts"},
}

func TestEveryNumberOfTheListHasItsTests(t *testing.T) {
	known := map[string]map[string]bool{}
	for number, entry := range acceptance {
		if number == 0 {
			continue
		}
		if entry.what == "" || entry.tests == "" {
			t.Errorf("%d has no test", number)
		}
		for name := range strings.FieldsSeq(entry.tests) {
			folder, function := ".", name
			if at := strings.LastIndex(name, "."); at >= 0 {
				folder, function = filepath.Join("..", "..", filepath.FromSlash(name[:at])), name[at+1:]
			}
			if known[folder] == nil {
				known[folder] = testsOf(t, folder)
			}
			if !known[folder][function] {
				t.Errorf("%d: there is no %s", number, name)
			}
		}
	}
	if last := len(acceptance) - 1; last != 44 {
		t.Errorf("the list ends at %d", last)
	}
}

// testsOf returns the tests of a folder, whatever tags they need. None of them may skip itself.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = true
			}
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if selector, ok := call.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(selector.Sel.Name, "Skip") && len(call.Args) < 2 {
					if receiver, ok := selector.X.(*ast.Ident); ok && receiver.Name == "t" {
						t.Errorf("%s: a test skips itself", file)
					}
				}
			}
			return true
		})
	}
	return tests
}
