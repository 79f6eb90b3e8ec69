"""Networks: plain modules, sized by their config section, free of data and training code."""
