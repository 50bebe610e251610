// The way of an admin: log in, an alert, a rotation from its plan to its end, ten keys from the paste to their end, log out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Site, until } from "./site.mjs";

const ways = [
  { name: "with the mouse", look: {}, press: (target) => target.click() },
  { name: "without JavaScript", look: { javaScriptEnabled: false }, press: (target) => target.click() },
  { name: "with the keyboard only", look: {}, press: pressEnter, isDeep: true },
];

for (const way of ways) {
  test(`the journey ${way.name}`, { skip: way.isDeep && !process.env.DEEP }, async () => {
    const site = await Site.start();
    try {
      const visitor = await site.visitor(way.look);
      await journey(visitor, way);
      await visitor.leave();
    } finally {
      await site.stop();
    }
  });
}

// Tab until it has the focus, then Enter: so nothing is reached by the mouse alone.
async function pressEnter(target) {
  await target.waitFor();
  for (let tabs = 0; tabs < 400; tabs += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) {
      await target.page().keyboard.press("Enter");
      return;
    }
    await target.page().keyboard.press("Tab");
  }
  assert.fail(`the keyboard does not reach ${target}`);
}

async function journey(visitor, { look, press }) {
  const { page } = visitor;
  const button = (name) => page.getByRole("main").getByRole("button", { name });
  const link = (name) => page.getByRole("main").getByRole("link", { name }).first();
  await visitor.logIn("/alerts");

  await alertIsThere(visitor);
  await press(link(/key invalid/));
  await page.getByRole("heading", { name: "What happened" }).waitFor();
  await press(button("Acknowledge"));
  await page.getByText("Acknowledged. There will be no more reminders.").waitFor();

  await visitor.go("/rotations/production");
  await press(link("Plan a rotation"));
  await page.getByText("Nothing has been changed.").waitFor();
  await press(button("Rotate now"));
  await page.getByText("The run has begun.").waitFor();
  const done = page.locator("h1 .state.good");
  if (look.javaScriptEnabled === false) await until(page, async () => (await page.reload()) && (await done.count()) > 0);
  await done.waitFor();

  await visitor.go("/keys/add");
  await page.getByLabel("Keys").fill(tenKeys());
  await press(page.getByText("More about them"));
  await page.getByLabel("What they are for").fill("of the journey");
  await page.getByLabel("Store them without asking").check();
  await press(button("Preview"));
  await page.getByText("10 lines, 10 new.").waitFor();
  await press(button("Store"));
  await page.getByText("10 added").waitFor();

  await visitor.go("/keys?q=of+the+journey");
  await page.getByText("10 keys").waitFor();
  await page.getByLabel(/All 10 on this page/).check();
  await press(button("Test"));
  await page.getByRole("status").getByText(/Tested\.|The tests go on\./).waitFor();

  await visitor.go("/keys?q=of+the+journey");
  await page.getByLabel(/All 10 on this page/).check();
  await press(button("Delete…"));
  await page.getByText("The rules allow it.").waitFor();
  await press(button("Delete all 10"));
  await page.getByText("Deleted.").waitFor();

  await press(page.getByRole("button", { name: "Log out" }));
  await page.getByText("You are logged out.").waitFor();
}

// The demo has a key that its provider refuses; two looks must have seen it.
async function alertIsThere(visitor) {
  await until(visitor.page, async () => {
    await visitor.go("/alerts");
    return (await visitor.page.getByRole("main").getByRole("link", { name: /key invalid/ }).count()) > 0;
  });
}

// Obviously false, and each another; a provider of the demo's own that is asked at a simulator.
function tenKeys() {
  return Array.from({ length: 10 }, (_, n) => `vision-nova not-a-key-of-anybody-${process.pid}-${n}`).join("\n");
}
