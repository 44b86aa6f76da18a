// The package asks for statistics only while it believes that a test runs, so it sees neither the end
// of a slow stop nor a run that was started elsewhere. This looks on while it does not.
import { locustStore, SWARM_STATE } from "locust-ui";
import { isStopping } from "./adapt.js";

const interval = 2000;
const polledByPackage = new Set([SWARM_STATE.RUNNING, SWARM_STATE.SPAWNING]);

const camel = (key) => key.replace(/_([a-z0-9])/g, (_, c) => c.toUpperCase());
const camelKeys = (row) => Object.fromEntries(Object.entries(row).map(([key, value]) => [camel(key), value]));

async function look() {
  const before = locustStore.getState().swarm.state;
  if (polledByPackage.has(before) && !isStopping()) {
    return;
  }
  const response = await fetch("stats/requests");
  if (!response.ok) {
    return;
  }
  const answer = await response.json();
  const state = isStopping() && polledByPackage.has(answer.state) ? SWARM_STATE.STOPPING : answer.state;
  if (state === locustStore.getState().swarm.state) {
    return;
  }
  locustStore.dispatch({ type: "swarm/setSwarm", payload: { state, workerCount: answer.worker_count } });
  locustStore.dispatch({
    type: "ui/setUi",
    payload: {
      stats: answer.stats.map(camelKeys),
      errors: answer.errors.map(camelKeys),
      workers: answer.workers?.map(camelKeys),
      userCount: answer.user_count,
      totalRps: Math.round(answer.total_rps * 100) / 100,
      failRatio: Math.round(answer.fail_ratio * 100),
    },
  });
}

/** Starts looking on. A server that does not answer is asked again. */
export function watch() {
  const again = () => look().catch(() => {}).finally(() => setTimeout(again, interval));
  setTimeout(again, interval);
}
