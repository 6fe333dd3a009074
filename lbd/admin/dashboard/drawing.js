// Drawing: a series as a small line. The numbers beside it say the same; it is hidden from screen readers.

const SVG = "http://www.w3.org/2000/svg";

function sparkline(width, height) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("spark");
  const area = document.createElementNS(SVG, "path");
  area.classList.add("area");
  const line = document.createElementNS(SVG, "path");
  line.classList.add("line");
  svg.append(area, line);
  return {svg, area, line, width, height, drawn: ""};
}

// The highest of each group, so that no peak is lost.
function grouped(values, groups) {
  if (values.length <= groups) return values;
  const size = values.length / groups;
  const found = [];
  for (let i = 0; i < groups; i += 1) {
    const part = values.slice(Math.floor(i * size), Math.floor((i + 1) * size)).filter(value => !Number.isNaN(value));
    found.push(part.length ? Math.max(...part) : NaN);
  }
  return found;
}

function draw(spark, values) {
  const points = grouped(values, spark.width);
  const top = Math.max(0, ...points.filter(value => !Number.isNaN(value)));
  const step = spark.width / Math.max(1, points.length - 1);
  const y = value => (top ? spark.height - 1 - (value / top) * (spark.height - 2) : spark.height - 1).toFixed(1);
  let line = "", area = "", start = null;
  points.forEach((value, i) => {
    if (Number.isNaN(value)) {
      if (start !== null) area += `L${((i - 1) * step).toFixed(1)} ${spark.height}Z`;
      start = null;
      return;
    }
    const at = `${(i * step).toFixed(1)} ${y(value)}`;
    line += `${start === null ? "M" : "L"}${at}`;
    area += start === null ? `M${(i * step).toFixed(1)} ${spark.height}L${at}` : `L${at}`;
    start = start === null ? i : start;
  });
  if (start !== null) area += `L${((points.length - 1) * step).toFixed(1)} ${spark.height}Z`;
  if (line === spark.drawn) return;
  spark.drawn = line;
  spark.line.setAttribute("d", line);
  spark.area.setAttribute("d", area);
}
