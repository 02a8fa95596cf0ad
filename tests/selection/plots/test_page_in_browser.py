"""The page of a search in a browser: its script runs, and tells a trial in every figure."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from perft.selection.plots.page import to_html
from pretend import BASE, search_of_six


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,2400",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield running
    running.quit()


def chosen(browser: webdriver.Chrome) -> set[str]:
    """What is highlighted: ids of marks, and rows of the table by their trials."""
    found = browser.find_elements(By.CSS_SELECTOR, ".mark.on")
    return {each.get_attribute("id") or f"row-{each.get_attribute('data-trial')}" for each in found}


@pytest.mark.browser
def test_the_pointer_tells_a_trial_and_shows_it_in_every_figure(
    tmp_path: Path, browser: webdriver.Chrome
) -> None:
    page = tmp_path / "pareto.html"
    page.write_text(to_html(search_of_six(), "<i>first</i>", BASE))
    browser.get(page.as_uri())
    assert browser.find_element(By.TAG_NAME, "h1").text == "<i>first</i>"
    everywhere = {"front-1", "bar-1", "curve-1", "parallel-1", "row-1"}

    tip = browser.find_element(By.ID, "tip")
    assert not tip.is_displayed()
    ActionChains(browser).move_to_element(browser.find_element(By.ID, "front-1")).perform()
    assert tip.text.splitlines()[:2] == ["trial 1 knee", "accuracy 75.0% (70.5-79.0)"]
    assert chosen(browser) == everywhere

    # A click keeps it when the pointer leaves; Escape lets it go.
    ActionChains(browser).click().perform()
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert not tip.is_displayed()
    assert chosen(browser) == everywhere
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert chosen(browser) == set()
    assert browser.get_log("browser") == []
