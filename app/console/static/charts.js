// Line charts by uPlot, in the page's colours. A chart is a picture: each has a sentence that says
// what it shows, and the views give the numbers as text or a table besides.

import { h } from "./dom.js";

const probe = h("span", { hidden: true });

/** A colour of the style sheets as the canvas needs it. */
export function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/**
 * A chart that fills its holder's width.
 *
 * `series`: [{label, colour, data, dash, points, fill, line}], aligned to `x`.
 * `xTitle`, `yTitle`, `xFormat`, `yFormat`, `xRange`, `yRange`, `height`, `time`.
 * Ends with `signal`.
 */
export function chart(description, options, signal) {
  const holder = h("div", { class: "chart", role: "img", "aria-label": description });
  let plot = null;
  let data = [options.x, ...options.series.map((one) => one.data)];
  const draw = () => {
    const width = holder.clientWidth;
    if (!width) return;
    plot?.destroy();
    plot = new globalThis.uPlot(settings(options, width), data, holder);
  };
  const sized = new ResizeObserver(() => {
    if (plot === null) draw();
    else if (plot.width !== holder.clientWidth && holder.clientWidth) {
      plot.setSize({ width: holder.clientWidth, height: options.height ?? 240 });
    }
  });
  sized.observe(holder);
  document.addEventListener("themechange", draw, { signal });
  signal.addEventListener("abort", () => {
    sized.disconnect();
    plot?.destroy();
  });
  return {
    element: holder,
    update: (x, series) => {
      data = [x, ...series];
      plot?.setData(data);
    },
  };
}

function settings(options, width) {
  const text = colour("muted");
  const grid = { stroke: colour("line"), width: 1 };
  const font = "12px system-ui, sans-serif";
  const axis = { stroke: text, grid, ticks: { show: false }, font, labelFont: font };
  return {
    width,
    height: options.height ?? 240,
    // On the right, half of the last label of the axis.
    padding: [12, options.xSpace ? 36 : 24, 0, 0],
    pxAlign: 0,
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
    legend: { show: options.series.length > 1, markers: { fill: (plot, place) => plot.series[place].stroke(plot, place) } },
    scales: {
      x: { time: options.time ?? false, ...(options.xRange && { range: () => (typeof options.xRange === "function" ? options.xRange() : options.xRange) }) },
      y: { ...(options.yRange && { range: () => options.yRange }), ...(!options.yRange && { range: fromZero }) },
    },
    axes: [
      { ...axis, label: options.xTitle, labelSize: 20, size: 28, space: options.xSpace ?? 50, ...(options.xFormat && { values: (_, all) => all.map(options.xFormat) }) },
      { ...axis, label: options.yTitle, labelSize: 22, size: 56, values: (_, all) => all.map(options.yFormat ?? String) },
    ],
    series: [
      { label: options.xTitle ?? "x", value: (_, value) => (value === null ? "" : (options.xFormat ?? String)(value)) },
      ...options.series.map((one) => drawn(one, options)),
    ],
  };
}

function drawn(one, options) {
  const stroke = colour(one.colour);
  return {
    label: one.label,
    stroke,
    width: one.width ?? 2,
    dash: one.dash,
    spanGaps: !options.dots,
    fill: one.fill ? `color-mix(in srgb, ${stroke} 14%, transparent)` : undefined,
    paths: one.line === false ? () => null : undefined,
    // A value alone between gaps has no line: dots show it.
    points: options.dots ? { size: 5, fill: stroke } : { show: Boolean(one.points), size: one.points ?? 0, fill: stroke },
    value: (_, value) => (value === null || value === undefined ? "" : (options.yFormat ?? String)(value)),
  };
}

function fromZero(_, _low, high) {
  return [0, high > 0 ? high * 1.1 : 1];
}
