"""Check the machine: what is it like (``observe``), and what of that breaks the tunnels (``judge``)."""
