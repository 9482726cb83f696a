"""Files from the web, fetched for somebody who names an address: from public servers only, within bounds."""
