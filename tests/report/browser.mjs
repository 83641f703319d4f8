// Opens a page in a real browser and says, as JSON, what its controls do.
//     node browser.mjs NODE_MODULES CHROMIUM PAGE WIDTH SCHEME
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, executablePath, file, width, colorScheme] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require(`${modules}/playwright-core`);
const axe = `${modules}/axe-core/axe.min.js`;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const said = { problems: [], requests: [], sliders: [], viewers: [], violations: null };
try {
  const size = { width: Number(width), height: 900 };
  const context = await browser.newContext({ viewport: size, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  page.on("console", (m) => {
    if (["error", "warning"].includes(m.type())) said.problems.push(m.text());
  });
  page.on("pageerror", (error) => said.problems.push(String(error)));
  page.on("request", (request) => said.requests.push(request.url()));
  await page.goto(pathToFileURL(file).href);
  said.overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - window.innerWidth,
  );
  for (const box of await page.$$(".sliders")) {
    const data = JSON.parse(await box.$eval("script.data", (s) => s.textContent));
    const inputs = await box.$$("input[type=range]");
    const read = async () => ({
      places: await box.$$eval("input", (all) => all.map((i) => Number(i.value))),
      named: await box.$$eval("input", (all) => all.map((i) => i.ariaValueText ?? i.getAttribute("aria-valuetext"))),
      shown: await box.$$eval("output", (all) => all.map((o) => o.textContent)),
      values: await box.$$eval(".values dd", (all) => all.map((d) => d.textContent)),
      mark: await box.$eval('[id*="-mark-"]', (g) => g.getBoundingClientRect().x),
    });
    const steps = [await read()];
    for (const input of inputs) {
      await input.focus();
      await page.keyboard.press("Home");
      steps.push(await read());
    }
    said.sliders.push({ data, steps });
  }
  for (const viewer of await page.$$(".viewer")) {
    const read = () => viewer.$eval("output", (o) => o.textContent);
    const stage = await viewer.$("svg.stage");
    const steps = { start: await read() };
    await stage.focus();
    await page.keyboard.press("ArrowUp");
    steps.ArrowUp = await read();
    await page.keyboard.press("Home");
    steps.Home = await read();
    await page.keyboard.press("End");
    steps.End = await read();
    await page.keyboard.press("Home");
    await stage.hover();
    await page.mouse.wheel(0, 100);
    await page.waitForTimeout(100);
    steps.wheel = await read();
    await page.keyboard.press("Home");
    await stage.evaluate((svg) => {
      const box = svg.getBoundingClientRect();
      const at = (type, x) => svg.dispatchEvent(
        new PointerEvent(type, { pointerId: 1, pointerType: "touch", isPrimary: true, bubbles: true, clientX: x, clientY: box.y + 5 }),
      );
      at("pointerdown", box.x + 5);
      at("pointermove", box.x + box.width - 5);
      at("pointerup", box.x + box.width - 5);
    });
    steps.touch = await read();
    said.viewers.push(steps);
  }
  if (existsSync(axe)) {
    await page.addScriptTag({ path: axe });
    const found = await page.evaluate(() => window.axe.run());
    said.violations = found.violations.map((v) => ({
      id: v.id, impact: v.impact, where: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)),
    }));
  }
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(said));
