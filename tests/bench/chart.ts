/**
 * The figures as an SVG: one block a row, one bar a program.
 *
 * @module
 */
import type { Machine } from "./machine.ts";
import { described, type Noise } from "./noise.ts";
import type { RowResult } from "./rows.ts";
import { bound, compared, cpu, figure, judgement } from "./table.ts";

const WIDTH = 860;
const MARGIN = 24;
const NAMES = 300;
/** The text beside the longest bar: its figure and the CPU time of a request. */
const VALUES = 250;
const BARS = WIDTH - NAMES - MARGIN - VALUES;
const LINE = 22;
const OWN = "#0b6e4f";
const PEER = "#9aa5b1";

/** Draws the rows; a program without figures has no bar. */
export function chart(rows: readonly RowResult[], machine: Machine, noise: Noise): string {
  const body: string[] = [];
  let y = MARGIN + 12;
  const line = (content: (y: number) => string, height = LINE) => {
    body.push(content(y));
    y += height;
  };

  line((y) => text(MARGIN, y, "dmio and its peers on the same work", "title"), 30);
  for (const row of rows) {
    const less = row.better === "less" ? ", less is better" : "";
    y += 10;
    line((y) => text(MARGIN, y, `${row.title} (${row.unit}${less})`, "row"));
    const most = Math.max(...row.entrants.map((entrant) => entrant.spread?.median ?? 0));
    for (const entrant of row.entrants) {
      const { name, spread } = entrant;
      if (spread === undefined) continue;
      const width = Math.max(1, Math.max(0, spread.median) / most * BARS);
      const colour = row.verdicts.some(({ of }) => of === name) ? OWN : PEER;
      line((y) =>
        text(NAMES - 10, y, name, "name") +
        `<rect x="${NAMES}" y="${y - 12}" width="${width.toFixed(1)}" height="15" fill="${colour}"/>` +
        text(
          NAMES + width + 8,
          y,
          [figure(spread.median), cpu(row, entrant)].filter(Boolean).join(", "),
          "value",
        )
      );
    }
    for (const verdict of row.verdicts) {
      const { target, spread } = verdict;
      if (target === undefined) continue;
      const said =
        `${compared(verdict)}: ${figure(spread.median)} (${figure(spread.min)} to ${figure(spread.max)}), ` +
        `target ${bound(target)} ${judgement(verdict)}`;
      line((y) => text(NAMES, y, said, "verdict"), 17);
    }
  }
  y += 16;
  const { versions } = machine;
  const tools = Object.entries(versions).filter(([, version]) => version !== null).map((entry) =>
    entry.join(" ")
  );
  line((y) =>
    text(
      MARGIN,
      y,
      `${machine.date.slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}`,
      "note",
    ), 16);
  line((y) => text(MARGIN, y, described(noise), "note"), 16);
  line((y) => text(MARGIN, y, tools.join(", "), "note"), 16);

  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}">
<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-size: 18px; font-weight: 600 }
  .row { font-weight: 600 }
  .name { text-anchor: end }
  .verdict, .note { font-size: 11px; fill: #52606d }
</style>
<rect width="100%" height="100%" fill="#ffffff"/>
${body.join("\n")}
</svg>
`;
}

function text(x: number, y: number, content: string, kind: string): string {
  const safe = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `<text x="${x.toFixed(1)}" y="${y}" class="${kind}">${safe}</text>`;
}
