// Many tenants that ask a service all the time, through all routers in turns, until k6 is stopped. What is done to the
// service's tracks meanwhile, and which of them each request reached, is the business of `loadtests/drill shift` and
// `shift-rollback`: every path names its tenant and when it was sent, in milliseconds since 1970, for the endpoints to write
// down.
//
// Each virtual user asks for tenants of its own, one after the other, so that connections carry requests of many tenants
// and, while traffic moves, of both tracks.
//
// TARGETS (separated by commas), TENANTS, VUS and PACE (milliseconds between two requests of a user) come from the
// environment.
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

import { wait } from './shop.js';

const TARGETS = __ENV.TARGETS.split(',');
const VUS = Number(__ENV.VUS);
const OWN = Math.ceil(Number(__ENV.TENANTS) / VUS);
const PACE = Number(__ENV.PACE);

const wrong = new Counter('wrong');
const connections = new Counter('connections');

export const options = {
  discardResponseBodies: true,
  scenarios: { crowd: { executor: 'constant-vus', vus: VUS, duration: '2h', gracefulStop: '0s' } },
  systemTags: [],
  summaryTrendStats: ['med', 'p(99)', 'max'],
};

export default function () {
  const user = exec.vu.idInTest - 1;
  const turn = exec.vu.iterationInScenario;
  // The users do not all begin at once.
  if (turn === 0) wait(Math.random() * PACE);
  const tenant = `t-${user * OWN + (turn % OWN)}`;
  // One time through all tenants by one router, the next time by the other.
  const target = TARGETS[(Math.floor(turn / OWN) + user) % TARGETS.length];
  const response = http.get(`${target}/api/${tenant}/${Date.now()}`, { headers: { 'x-tenant-id': tenant }, timeout: '10s' });
  if (response.timings.connecting > 0) connections.add(1);
  if (response.status !== 200) wrong.add(1);
  wait(PACE);
}
