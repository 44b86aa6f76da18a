package report

import (
	"strings"
	"testing"
)

func TestARunThatWasCutShortIsPartial(t *testing.T) {
	delivered := 300.0
	r := &Result{Verdict: Verdict{State: Valid}, Coverage: Coverage{DeliveredUserSeconds: &delivered}}
	r.CutShort(600, "AWS took the task back")
	if r.Verdict.State != Partial || *r.Coverage.Ratio != 0.5 || strings.Join(r.Verdict.Reasons, "") != "AWS took the task back: 50.0% of the planned user seconds were delivered" {
		t.Errorf("verdict %+v, coverage %+v", r.Verdict, r.Coverage)
	}
	invalid := &Result{Verdict: Verdict{State: Invalid}}
	invalid.CutShort(0, "stopped")
	if invalid.Verdict.State != Invalid || len(invalid.Verdict.Reasons) != 1 {
		t.Errorf("verdict %+v", invalid.Verdict)
	}
}

func TestMachinesAreAddedToTheCostOfTheTable(t *testing.T) {
	r := &Result{}
	r.AddCompute(0.25, &PriceList{Date: "d"})
	if *r.Cost.EstimateUSD != 0.25 || r.Cost.TableUSD != nil || r.Cost.PriceList.Date != "d" {
		t.Errorf("cost %+v", r.Cost)
	}
	other := 5.0
	r = &Result{Consumed: Consumed{WriteUnits: new(2e6)}, Cost: &Cost{EstimateUSD: &other, TableUSD: &other, PriceList: PriceListRef{Date: "t"}}}
	r.AddCompute(0.25, &PriceList{Date: "d", PerMillionWriteUnit: 0.5})
	if *r.Cost.EstimateUSD != 1.25 || *r.Cost.TableUSD != 1 || *r.Cost.ComputeUSD != 0.25 || r.Cost.PriceList.Date != "d" {
		t.Errorf("cost %+v: the table's is not of the same list", r.Cost)
	}
}
