// Drives the quickstart with twenty tenants, and asserts placement, limits and latency.
//
//   placement  every tenant's requests reach one and the same cell, and the pinned tenant the cell of its pin
//   limits     a tenant over its rate is refused with 429 and the headers that say when to come back; nobody else is
//   latency    generous thresholds: a laptop under load must pass, a router that waits for something must not
//
// Everything has a default for config/examples/quickstart and can be set in the environment: what shop.js names, RATE and
// BURST (the quickstart's limit), SHORT.
import exec from 'k6/execution';
import { check, fail } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

import { PATH, PINNED, PINNED_CELL, TARGET, TENANTS, ask, cellOf, header, wait } from './shop.js';

const RATE = Number(__ENV.RATE || 100);
const BURST = Number(__ENV.BURST || 200);
const SHORT = Boolean(__ENV.SHORT);
const SECONDS = SHORT ? 4 : 20;
const GREEDY = 'k6-greedy';

const placement = new Rate('placement_kept');
const modest = new Rate('modest_admitted');
const greedyAdmitted = new Counter('greedy_admitted');
const greedyRefused = new Counter('greedy_refused');
const refusals = new Rate('refusals_well_formed');
const latency = new Trend('latency_ms', true);

export const options = {
  discardResponseBodies: false,
  scenarios: {
    // Ten requests a second of each tenant, well below its limit.
    modest: {
      executor: 'per-vu-iterations', exec: 'modestTenant', vus: TENANTS.length, iterations: SECONDS * 10, maxDuration: `${SECONDS * 3}s`,
    },
    // One tenant at three times its rate, for long enough to use up its burst.
    greedy: {
      executor: 'constant-arrival-rate', exec: 'greedyTenant', rate: RATE * 3, timeUnit: '1s', duration: `${SECONDS}s`,
      preAllocatedVUs: 30, maxVUs: 60,
    },
  },
  thresholds: {
    placement_kept: ['rate==1'],
    modest_admitted: ['rate==1'],
    greedy_admitted: [`count>=${BURST}`, `count<=${Math.ceil((BURST + RATE * (SECONDS + 2)) * 1.05)}`],
    greedy_refused: ['count>0'],
    refusals_well_formed: ['rate==1'],
    latency_ms: ['p(50)<50', 'p(99)<500'],
    checks: ['rate==1'],
    dropped_iterations: [`count<${RATE * SECONDS}`],
  },
};

// Where each tenant lives, asked once before the load.
export function setup() {
  const homes = {};
  for (const tenant of [...TENANTS, GREEDY]) {
    const response = ask(tenant);
    const cell = cellOf(response);
    if (response.status !== 200 || !cell) {
      fail(`tenant ${tenant} at ${TARGET}${PATH}: status ${response.status}, body ${response.body}`);
    }
    homes[tenant] = cell;
  }
  if (homes[PINNED] !== PINNED_CELL) fail(`${PINNED} is pinned to ${PINNED_CELL} but is served by ${homes[PINNED]}`);
  const used = new Set(Object.values(homes));
  if (used.size < 2) fail(`all tenants are in ${[...used].join()}: nothing was placed`);
  return { homes };
}

export function modestTenant({ homes }) {
  const tenant = TENANTS[exec.scenario.iterationInTest % TENANTS.length];
  const response = ask(tenant);
  modest.add(response.status === 200, { tenant });
  placement.add(cellOf(response) === homes[tenant], { tenant });
  latency.add(response.timings.duration);
  // Each virtual user about ten requests a second, for whichever tenant is next.
  wait(100);
}

export function greedyTenant({ homes }) {
  const response = ask(GREEDY);
  if (response.status === 200) {
    greedyAdmitted.add(1);
    placement.add(cellOf(response) === homes[GREEDY], { tenant: GREEDY });
    return;
  }
  greedyRefused.add(1);
  refusals.add(check(response, {
    'refused with 429': (r) => r.status === 429,
    'Retry-After is a whole number of seconds, at least 1': (r) => /^[1-9][0-9]*$/.test(r.headers['Retry-After'] || ''),
    'RateLimit is there': (r) => Boolean(header(r, 'RateLimit')),
    'RateLimit-Policy is there': (r) => Boolean(header(r, 'RateLimit-Policy')),
    'the code is in the header': (r) => header(r, 'X-Gridrouter-Reject') === 'limit_exceeded',
    'the code is in the body': (r) => r.json('error.code') === 'limit_exceeded',
    'no upstream was asked': (r) => !header(r, 'X-Served-By'),
  }));
}
