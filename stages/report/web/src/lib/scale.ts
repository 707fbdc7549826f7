// Linear scales of charts. d3-scale's would bring colour spaces and interpolators that no chart here needs.

import { ticks } from "d3-array";

export interface Scale {
  (value: number): number;
  readonly domain: readonly [number, number];
  /** About so many round values within the domain. */
  ticks(count: number): number[];
}

/** From values to px; `clamped` keeps what lies beyond at the ends. */
export function linear(domain: readonly [number, number], range: readonly [number, number], clamped = false): Scale {
  const span = domain[1] - domain[0] || 1;
  const scale = (value: number): number => {
    const share = (value - domain[0]) / span;
    const kept = clamped ? Math.min(1, Math.max(0, share)) : share;
    return range[0] + kept * (range[1] - range[0]);
  };
  return Object.assign(scale, { domain, ticks: (count: number) => ticks(domain[0], domain[1], count) });
}
